// What the page can ask of the model. Each task gets a request and `tell`, for parts of an answer that come before its end.

const SLICE = 8; // milliseconds of drawing between two looks at what else the page asks
const DEFAULT_ROOM = 100, TRIES = 100; // as in fastlstm/generation/request.py
const LIKELY = 12; // alternatives told of each letter

let network, facts, characters, ids, known;
const current = { names: null, text: null }; // the newest request of each kind; an older one gives up

// Let the page's messages in: a timer would wait for four milliseconds, a message of one's own does not.
const { port1, port2 } = new MessageChannel(), waiting = [];
port1.onmessage = () => waiting.shift()();
const breathe = () => new Promise((resolve) => {
  waiting.push(resolve);
  port2.postMessage(null);
});
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The bytes of base64.
function bytes(text) {
  const string = atob(text), array = new Uint8Array(string.length);
  for (let i = 0; i < array.length; i++) array[i] = string.charCodeAt(i);
  return array;
}

// float32 of float16: the same bits, three places to the right, and an exponent that counts from elsewhere.
function widened(halves) {
  const bits = Uint32Array.from(halves, (half) => ((half & 0x8000) << 16) | ((half & 0x7fff) << 13));
  return new Float32Array(bits.buffer).map((value) => value * 2 ** 112);
}

// A text as it would have been read for training.
const preprocess = (text) => (facts.lowercase ? text.toLowerCase() : text).normalize("NFC");

// Its characters, which the model must know, and their ids.
function spelled(text) {
  const letters = [...text];
  const unknown = [...new Set(letters.filter((letter) => !ids.has(letter)))];
  if (unknown.length && facts.replacement === null) {
    throw new Error(`The model has never seen ${unknown.map((letter) => `“${letter}”`).join(", ")}.`);
  }
  return { letters, ids: letters.map((letter) => ids.get(letter) ?? ids.get(facts.replacement)) };
}

// The states and logits after a beginning: where data begin, which is at an end mark or the start, then its letters.
function begin(slot, letters, given) {
  network.begin(slot, given);
  for (const id of [facts.boundary ? 0 : ids.get(facts.start), ...letters]) network.advance(slot, [id]);
}

function choose(slot, banned, settings, u) {
  const chosen = network.choose(slot, banned, settings, u);
  if (chosen < 0) throw new Error("The model has nothing that it could say here.");
  return chosen;
}

// Draw the first n names of a seed; those that go on are in the first slots, and each is told when all before it are.
async function names({ prefix, n, longest, novel, seed, given, ...settings }, tell) {
  const job = (current.names = {}), started = performance.now();
  const beginning = spelled(preprocess(prefix)), size = beginning.ids.length;
  const least = Math.max(1 - size, 0), most = longest ? longest - size : Math.max(least + DEFAULT_ROOM, facts.longest - size);
  if (most < 0) throw new Error(`That beginning has more than ${longest} letters.`);
  begin(READING, beginning.ids, given);
  const start = network.save(READING);
  const greedy = settings.temperature === 0 || settings.topK === 1;
  const limit = novel ? (greedy ? 1 : TRIES * n) : n;
  const rows = [], finished = [];
  let begun = 0, tried = 0, found = 0, count = 0, batch = [], until = started + SLICE;

  const goesOn = (row, slot) => {
    const position = row.ids.length;
    if (position < most) {
      const chosen = choose(slot, position < least ? 0 : -1, settings, uniform(row.key, position));
      count++;
      if (chosen !== 0) row.ids.push(chosen);
      if (chosen !== 0 && position + 1 < most) return true;
    }
    finished[row.sequence] = beginning.letters.join("") + row.ids.map((id) => characters[id]).join("");
    return false;
  };
  const collect = () => {
    for (; found < n && finished[tried] !== undefined; tried++) {
      if (novel && known.has(finished[tried].trim().normalize("NFC"))) continue;
      batch.push(finished[tried]);
      found++;
    }
  };
  while (found < n) {
    while (rows.length < NAMES && begun < limit) {
      const row = { sequence: begun, key: streamKey(seed, BigInt(begun)), ids: [] };
      begun++;
      network.restore(rows.length, start);
      if (goesOn(row, rows.length)) rows.push(row);
    }
    if (rows.length) network.advance(0, rows.map((row) => row.ids.at(-1)));
    for (let r = rows.length - 1; r >= 0; r--) {
      if (goesOn(rows[r], r)) continue;
      const last = rows.pop(); // has chosen already, and takes the place that is free
      if (r < rows.length) {
        rows[r] = last;
        network.move(rows.length, r);
      }
    }
    collect();
    if (!rows.length && begun === limit) break;
    if (performance.now() > until) {
      tell(batch);
      batch = [];
      await breathe();
      if (current.names !== job) return null;
      until = performance.now() + SLICE;
    }
  }
  tell(batch);
  return { found, tried, count, seconds: (performance.now() - started) / 1000 };
}

// Draw a text until its end, a pause, or another text.
async function write(job, tell) {
  const started = performance.now(), first = job.position;
  let piece = "", until = started + SLICE;
  Object.assign(job, { running: true, since: started, from: first });
  while (current.text === job && job.running && job.position < job.end) {
    if (job.position) network.advance(TEXT, [job.last]);
    job.last = choose(TEXT, -1, job.settings, uniform(job.key, job.position++));
    piece += characters[job.last];
    const now = performance.now();
    const early = job.pace > 0 && job.from + ((now - job.since) / 1000) * job.pace < job.position;
    if (early || now > until) {
      tell(piece);
      piece = "";
      await (early ? sleep(15) : breathe());
      until = performance.now() + SLICE;
    }
  }
  if (current.text !== job) return null;
  tell(piece);
  const seconds = (performance.now() - started) / 1000;
  return { count: job.position - first, seconds, ended: job.position === job.end };
}

function text({ prefix, length, pace, seed, given, ...settings }, tell) {
  const beginning = spelled(preprocess(prefix));
  begin(TEXT, beginning.ids, given);
  current.text = { settings, pace, key: streamKey(seed, 0n), position: 0, end: length };
  tell(beginning.letters.join(""));
  return write(current.text, tell);
}

function goOn({ length }, tell) {
  const job = current.text;
  if (job.position === job.end) job.end += length;
  return write(job, tell);
}

// Change what is being written: settings, pace, or whether it goes on.
function tune({ pace, running, ...settings }) {
  if (!current.text) return;
  Object.assign(current.text, { settings, pace, since: performance.now(), from: current.text.position });
  if (!running) current.text.running = false;
}

// What the model expected at a place: how probable the letter there was, and the likeliest ones, null being the end.
function expectation(slot, id) {
  const p = network.probabilities(slot), best = [];
  for (let i = 0; i < p.length; i++) {
    if (best.length === LIKELY && p[i] <= p[best[LIKELY - 1]]) continue;
    const place = best.findIndex((other) => p[i] > p[other]);
    best.splice(place < 0 ? best.length : place, 0, i);
    best.length = Math.min(best.length, LIKELY);
  }
  const likely = best.map((i) => [facts.boundary && i === 0 ? null : characters[i], p[i]]);
  return { p: id === null ? null : p[id], likely };
}

// A name or text letter by letter, and what would follow; `whole` is the logarithm of a name's probability, its end included.
function read({ text, given }) {
  const { letters, ids } = spelled(preprocess(text));
  begin(READING, [], given);
  const places = ids.map((id) => {
    const place = expectation(READING, id);
    network.advance(READING, [id]);
    return place;
  });
  const whole = places.reduce((sum, { p }) => sum + Math.log(p), 0);
  const end = facts.boundary ? Math.log(network.probabilities(READING)[0]) : 0;
  return { letters, places: [...places, expectation(READING, null)], written: whole, whole: whole + end };
}

// The cell states after each letter of some texts: for each (T, L·H).
function cells({ texts, given }) {
  const width = network.L * network.H;
  return texts.map((text) => {
    const { letters, ids } = spelled(text), states = new Float32Array(ids.length * width);
    begin(READING, [], given);
    ids.forEach((id, t) => {
      network.advance(READING, [id]);
      network.cells(READING, states, t * width);
    });
    return { letters, states };
  });
}

async function load(page) {
  facts = page.facts;
  characters = facts.boundary ? ["", ...facts.characters] : [...facts.characters];
  ids = new Map(characters.map((character, id) => [character, id]));
  known = new Set(facts.index);
  const stored = bytes(page.weights).buffer;
  const weights = facts.half ? widened(new Uint16Array(stored)) : new Float32Array(stored);
  network = await Network.load({ facts, weights, kernel: bytes(page.kernel) });
}

const tasks = { names, text, goOn, tune, read, cells };
let ready;

onmessage = async ({ data: { id, task, request } }) => {
  try {
    if (task === "load") ready = load(request);
    await ready;
    const answer = task === "load" ? null : await tasks[task](request, (part) => postMessage({ id, part }));
    postMessage({ id, answer });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
