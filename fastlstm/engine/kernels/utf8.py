"""From UTF-8 to numbers: what a text is read with, a byte at a time."""

from __future__ import annotations

from numba import int32, int64, uint8, uint64

from fastlstm.engine.kernels.compile import inner, kernel

BLOCK = uint64(64)  # bytes of ASCII that are looked up without a look at each


@inner
def follows(data, place):
    """Whether the byte there goes on with a character."""
    return place < len(data) and data[place] & 0xC0 == 0x80


@inner
def number_ascii(data, place, table, numbers, count):
    """As `number_utf8`, of whole blocks, as far as they are ASCII that has numbers; returns how many bytes that is."""
    # Unsigned, an index needs no look for whether it counts from the end.
    begin, into, done = uint64(place), uint64(count), uint64(0)
    while begin + done + BLOCK <= uint64(len(data)):
        all_bits, all_numbers = uint8(0), int32(0)
        for i in range(BLOCK):
            all_bits |= data[begin + done + i]
        if all_bits >= 0x80:
            break
        for i in range(BLOCK):
            number = table[uint64(data[begin + done + i])]
            all_numbers |= number
            numbers[into + done + i] = number
        if all_numbers < 0:
            break
        done += BLOCK
    return done


@kernel
def number_utf8(data, place, table, numbers, count):
    """Look characters up in `table` (code points,), and append what they have there to the `count` numbers.

    Goes from `place` to the end of the bytes, or to what has no number: a character that has a negative one, bytes that
    are not UTF-8 (of which surrogates are thought to be). Returns where it stopped and how many numbers there are.
    """
    done = int64(number_ascii(data, place, table, numbers, count))
    place, count = place + done, count + done
    while place < len(data):
        code, size = int(data[place]), 1
        if code >= 0x80:
            if 0xC2 <= code < 0xE0 and follows(data, place + 1):
                code, size = (code & 0x1F) << 6 | data[place + 1] & 0x3F, 2
            elif code & 0xF0 == 0xE0 and follows(data, place + 1) and follows(data, place + 2):
                code = (code & 0xF) << 12 | (data[place + 1] & 0x3F) << 6 | data[place + 2] & 0x3F
                if code < 0x800:
                    break
                size = 3
            elif (
                0xF0 <= code < 0xF5
                and follows(data, place + 1)
                and follows(data, place + 2)
                and follows(data, place + 3)
            ):
                code = (code & 7) << 18 | (data[place + 1] & 0x3F) << 12
                code |= (data[place + 2] & 0x3F) << 6 | data[place + 3] & 0x3F
                if not 0x10000 <= code < 0x110000:
                    break
                size = 4
            else:
                break
        number = table[code]
        if number < 0:
            break
        numbers[count] = number
        place, count = place + size, count + 1
    return place, count


@kernel
def count_numbers(numbers, counts):
    """Add to counts (4, ·), whose sum counts, how often each number occurs."""
    for i in range(len(numbers)):
        # The same counter twice in a row would wait for itself.
        counts[i % 4, numbers[i]] += 1
