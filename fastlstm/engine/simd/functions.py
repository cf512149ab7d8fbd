"""exp, tanh and sigmoid of a whole vector, NaN for NaN.

Greatest errors over the whole range, with FMA or without: exp 3 units in the last place, tanh 6 in float32 and
2 in float64, sigmoid 3 in float64; in float32, where it is made of tanh, 2·10⁻⁷ absolutely.

Sources: exp by range reduction to |r| <= ln 2 / 2 with a two-part ln 2 (Cody and Waite, 1980) and its Taylor
polynomial; float32 tanh by the rational function of Eigen (`generic_fast_tanh_float`); float64 tanh by a Taylor
quotient near zero and by exp elsewhere (Cephes, `tanh.c`).
"""

from __future__ import annotations

import math

from llvmlite import ir

from fastlstm.engine.simd.vector import Code, Vector

LN2 = {32: (0.693359375, -2.12194440e-4), 64: (6.93145751953125e-1, 1.42860682030941723212e-6)}
# Beyond these, exp is 0 or infinite to working precision; the result stays a normal number.
EXP_RANGE = {32: (-87.0, 88.0), 64: (-708.0, 709.0)}
EXP_DEGREE = {32: 6, 64: 12}
MANTISSA = {32: (23, 127), 64: (52, 1023)}
# Adding and subtracting 1.5 · 2^mantissa rounds to the nearest integer.
ROUNDER = {32: 12582912.0, 64: 6755399441055744.0}

TANH_LIMIT_F32 = 8.01773357
TANH_P_F32 = (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)
TANH_Q_F32 = (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0)

TANH_SPLIT_F64 = 0.625
TANH_P_F64 = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
TANH_Q_F64 = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def polynomial(x: Vector, coefficients: tuple[float, ...]) -> Vector:
    """Horner's rule, highest power first."""
    result = x.code.constant(coefficients[0])
    for c in coefficients[1:]:
        result = result.muladd(x, x.code.constant(c))
    return result


def power_of_two(code: Code, rounded: Vector, n: Vector) -> Vector:
    """2^n for integral n, where `rounded` is n + ROUNDER: n sits in the low bits of its mantissa."""
    mantissa, bias = MANTISSA[code.bits]
    builder = code.builder
    integer = ir.IntType(code.bits)

    def splat(value: int) -> ir.Constant:
        return ir.Constant(code.integers, [ir.Constant(integer, value)] * code.lanes)

    bits = builder.bitcast(rounded.value, code.integers)
    exponent = builder.shl(builder.add(bits, splat(bias)), splat(mantissa))
    return Vector(code, builder.bitcast(exponent, code.type))


def exp(x: Vector) -> Vector:
    """e^x, saturating at the ends of the normal range."""
    code = x.code
    bits = code.bits
    x = x.clamp(*EXP_RANGE[bits])
    rounder = code.constant(ROUNDER[bits])
    rounded = x.muladd(code.constant(1 / math.log(2)), rounder)
    n = rounded - rounder
    high, low = LN2[bits]
    r = n.muladd(code.constant(-low), n.muladd(code.constant(-high), x))
    series = polynomial(r, tuple(1 / math.factorial(k) for k in range(EXP_DEGREE[bits], -1, -1)))
    return series * power_of_two(code, rounded, n)


def tanh(x: Vector) -> Vector:
    """The hyperbolic tangent."""
    code = x.code
    if code.bits == 32:
        x = x.clamp(-TANH_LIMIT_F32, TANH_LIMIT_F32)
        s = x * x
        p, q = polynomial(s, TANH_P_F32), polynomial(s, TANH_Q_F32)
        return p.muladd(s * x, x) / q
    one, two = code.constant(1.0), code.constant(2.0)
    size = x.absolute()
    far = (one - two / (exp(size + size) + one)).copysign(x)
    s = x * x
    near = (polynomial(s, TANH_P_F64) / polynomial(s, TANH_Q_F64)).muladd(s * x, x)
    split = code.constant(TANH_SPLIT_F64)
    mask = code.builder.fcmp_ordered("<", size.value, split.value)
    return Vector(code, code.builder.select(mask, near.value, far.value))


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + e^-x); in float32 by tanh."""
    code = x.code
    half, one = code.constant(0.5), code.constant(1.0)
    if code.bits == 32:
        return tanh(x * half).muladd(half, half)
    return one / (one + exp(code.constant(0.0) - x))
