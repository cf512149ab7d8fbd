"use strict";
// The network in JavaScript and WebAssembly: the arithmetic of fastlstm/generation, one file to read top to bottom.
// Letters: V characters, E embedding size, H units, L layers. A slot is a row of states; all memory is one array `f` of
// float32, and a place in it is a number.

const PANEL = 32; // columns of a panel: w[p][k] are the weights of 32 columns for input k
const NAMES = 16, TEXT = NAMES, READING = NAMES + 1, SLOTS = NAMES + 2; // slots: for names, a text, and reading

// Random numbers: SplitMix64's, as in fastlstm/engine/kernels/choose.py.
const GOLDEN = 0x9e3779b97f4a7c15n;
const wrap = (x) => BigInt.asUintN(64, x);

function mix(x) {
  x = wrap((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = wrap((x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

const streamKey = (seed, sequence) => mix(wrap(mix(wrap(seed)) + (sequence + 1n) * GOLDEN));
const uniform = (key, position) => Number(mix(wrap(key + BigInt(position + 1) * GOLDEN)) >> 11n) * 2 ** -53;

// out += x · w for some rows, where there is no WebAssembly with vectors; all arguments count floats.
function product(f, out, outRow, x, xRow, w, depth, panels, rows) {
  for (let r = 0; r < rows; r++) {
    for (let p = 0; p < panels; p++) {
      const to = out + r * outRow + p * PANEL;
      for (let k = 0; k < depth; k++) {
        const factor = f[x + r * xRow + k], line = w + (p * depth + k) * PANEL;
        for (let j = 0; j < PANEL; j++) f[to + j] += factor * f[line + j];
      }
    }
  }
}

class Network {
  static async load({ facts, weights, kernel }) {
    const network = new Network(facts, weights);
    const memory = new WebAssembly.Memory({ initial: Math.ceil(network.size / 16384) });
    network.f = new Float32Array(memory.buffer);
    try {
      const { instance } = await WebAssembly.instantiate(kernel, { page: { memory } });
      network.vectors = instance.exports;
    } catch {
      network.vectors = null;
    }
    network.pack();
    return network;
  }

  constructor({ architecture, tensors }, weights) {
    const { vocabulary: V, hidden: H, layers: L, embedding: E } = architecture;
    Object.assign(this, { V, H, L, E, tied: architecture.tied });
    this.tensor = (name) => tensors[name] && weights.subarray(...tensors[name]);
    this.G = Math.ceil((4 * H) / PANEL) * PANEL;
    this.Vp = Math.ceil(V / PANEL) * PANEL;
    this.size = 0;
    const take = (count) => (this.size += Math.ceil(count / 4) * 4) - Math.ceil(count / 4) * 4;
    this.layers = Array.from({ length: L }, (_, l) => ({
      width: l ? H : E, bias: take(this.G), x: take((l ? H : E) * this.G), h: take(H * this.G),
    }));
    this.table = take(V * this.G); // what a character alone gives to the gates; a row is made when first asked for
    this.made = new Uint8Array(V);
    this.embedded = take(E);
    Object.assign(this, { head: take(H * this.Vp), headBias: take(this.Vp) });
    Object.assign(this, { h: take(L * SLOTS * H), c: take(L * SLOTS * H) });
    Object.assign(this, { gates: take(NAMES * this.G), logits: take(SLOTS * this.Vp) });
    this.z = new Float64Array(V);
    this.weights = new Float64Array(V);
  }

  pack() {
    const { H, f } = this;
    const panels = (at, W, rows, row, first, depth) => {
      for (let j = 0; j < rows; j++) {
        const to = at + (j - (j % PANEL)) * depth + (j % PANEL);
        for (let k = 0; k < depth; k++) f[to + k * PANEL] = W[j * row + first + k];
      }
    };
    this.layers.forEach(({ width, bias, x, h }, l) => {
      const W = this.tensor(`lstm.${l}.W`), row = W.length / (4 * H);
      panels(h, W, 4 * H, row, 0, H);
      panels(x, W, 4 * H, row, H, width);
      f.set(this.tensor(`lstm.${l}.b`), bias);
    });
    panels(this.head, this.tensor(this.tied ? "embedding" : "head.W"), this.V, H, 0, H);
    f.set(this.tensor("head.b"), this.headBias);
  }

  product(out, outRow, x, xRow, w, depth, columns, rows) {
    if (!this.vectors) {
      product(this.f, out, outRow, x, xRow, w, depth, columns / PANEL, rows);
      return;
    }
    for (let r = 0; r < rows; ) {
      const count = rows - r < 4 ? 1 : 4;
      const run = count === 1 ? this.vectors.one : this.vectors.four;
      run(4 * (out + r * outRow), 4 * outRow, 4 * (x + r * xRow), 4 * xRow, 4 * w, depth, columns / PANEL);
      r += count;
    }
  }

  row(id) {
    const at = this.table + id * this.G, { f, G, H, V, E } = this;
    if (!this.made[id]) {
      const first = this.layers[0], W = this.tensor("lstm.0.W");
      f.copyWithin(at, first.bias, first.bias + G);
      if (E) {
        f.set(this.tensor("embedding").subarray(id * E, (id + 1) * E), this.embedded);
        this.product(at, G, this.embedded, E, first.x, E, G, 1);
      } else for (let j = 0; j < 4 * H; j++) f[at + j] += W[j * (H + V) + H + id];
      this.made[id] = 1;
    }
    return at;
  }

  // A slot that has seen nothing: its states are zero or learned, and each row of `given` adds some of its own.
  begin(slot, given) {
    const { f, H, L } = this;
    for (const state of ["h", "c"]) {
      const learned = this.tensor(`${state}0`), conditions = this.tensor(`given.${state}`);
      for (let l = 0; l < L; l++) {
        const to = this[state] + (l * SLOTS + slot) * H;
        const add = (tensor, row) => {
          for (let j = 0; j < H; j++) f[to + j] += tensor[(row * L + l) * H + j];
        };
        f.fill(0, to, to + H);
        if (learned) add(learned, 0);
        for (const row of given) add(conditions, row);
      }
    }
  }

  // Feed an id to each of the slots from `first` on; their states move on and their logits follow.
  advance(first, ids) {
    const { f, G, H, L } = this, rows = ids.length;
    let below = 0;
    for (let l = 0; l < L; l++) {
      const layer = this.layers[l], place = (l * SLOTS + first) * H;
      for (let r = 0; r < rows; r++) {
        const from = l ? layer.bias : this.row(ids[r]);
        f.copyWithin(this.gates + r * G, from, from + G);
      }
      if (l) this.product(this.gates, G, below, H, layer.x, H, G, rows);
      this.product(this.gates, G, this.h + place, H, layer.h, H, G, rows);
      for (let r = 0; r < rows; r++) this.cell(this.gates + r * G, this.h + place + r * H, this.c + place + r * H);
      below = this.h + place;
    }
    const out = this.logits + first * this.Vp;
    for (let r = 0; r < rows; r++) f.copyWithin(out + r * this.Vp, this.headBias, this.headBias + this.Vp);
    this.product(out, this.Vp, below, H, this.head, H, this.Vp, rows);
  }

  cell(gates, h, c) {
    const { f, H } = this;
    for (let j = 0; j < H; j++) {
      const input = 1 / (1 + Math.exp(-f[gates + j]));
      const forget = 1 / (1 + Math.exp(-f[gates + H + j]));
      const candidate = 2 / (1 + Math.exp(-2 * f[gates + 2 * H + j])) - 1;
      const output = 1 / (1 + Math.exp(-f[gates + 3 * H + j]));
      f[c + j] = forget * f[c + j] + input * candidate;
      f[h + j] = output * (2 / (1 + Math.exp(-2 * f[c + j])) - 1);
    }
  }

  // Where a slot's numbers lie: its states of each layer, and its logits.
  places(slot) {
    const { H, L, Vp } = this;
    const states = Array.from({ length: L }, (_, l) => (l * SLOTS + slot) * H);
    return [...states.map((at) => [this.h + at, H]), ...states.map((at) => [this.c + at, H]),
      [this.logits + slot * Vp, Vp]];
  }

  save(slot) {
    return this.places(slot).map(([at, size]) => this.f.slice(at, at + size));
  }

  restore(slot, saved) {
    this.places(slot).forEach(([at], n) => this.f.set(saved[n], at));
  }

  move(from, to) {
    const places = this.places(to);
    this.places(from).forEach(([at, size], n) => this.f.copyWithin(places[n][0], at, at + size));
  }

  // The cell states of a slot (L·H).
  cells(slot, out, at) {
    for (let l = 0; l < this.L; l++) {
      const from = this.c + (l * SLOTS + slot) * this.H;
      out.set(this.f.subarray(from, from + this.H), at + l * this.H);
    }
  }

  // The probabilities (V) of what follows in a slot.
  probabilities(slot) {
    const z = Float64Array.from(this.f.subarray(this.logits + slot * this.Vp).subarray(0, this.V));
    const top = z.reduce((a, b) => Math.max(a, b));
    const exps = z.map((value) => Math.exp(value - top));
    const total = exps.reduce((a, b) => a + b, 0);
    return exps.map((value) => value / total);
  }

  // The id that a uniform number draws, by the rules and in the order of choose.py's `choose`.
  choose(slot, banned, { temperature, topK, topP }, u) {
    const { V, f, z, weights } = this, at = this.logits + slot * this.Vp;
    let best = -1;
    for (let i = 0; i < V; i++) {
      z[i] = i === banned ? -Infinity : f[at + i];
      if (i !== banned && (best < 0 || z[i] > z[best])) best = i;
    }
    if (temperature === 0 || best < 0) return best;
    let total = 0;
    for (let i = 0; i < V; i++) total += weights[i] = Math.exp((z[i] - z[best]) / temperature);
    if (topK < V || topP < 1) {
      const ranked = Array.from(z.keys()).sort((a, b) => z[b] - z[a] || a - b);
      const left = ranked.slice(0, topK);
      let kept = left.length;
      if (topP < 1) {
        const share = topP * left.reduce((sum, i) => sum + weights[i], 0);
        let mass = 0;
        for (kept = 0; kept < left.length && (kept === 0 || mass < share); kept++) mass += weights[left[kept]];
      }
      for (const i of ranked.slice(kept)) weights[i] = 0;
      total = weights.reduce((a, b) => a + b, 0);
    }
    let running = 0, chosen = best;
    for (let i = 0; i < V; i++) {
      running += weights[i];
      if (weights[i] > 0) {
        chosen = i;
        if (running > u * total) break;
      }
    }
    return chosen;
  }
}
