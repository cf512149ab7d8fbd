// How it learned: the training's losses.
const SVG = "http://www.w3.org/2000/svg";

function draw(parent, tag, attributes, content = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(content);
  parent.append(element);
  return element;
}

// Round numbers between two others, about so many.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(Math.floor(high / step + 1e-9) - first + 1, 0) }, (_, n) => (first + n) * step);
}

const curves = { section: $("#curves"), svg: $("#curves svg"), range: $("#curves input") };

// Both losses over the epochs, as wide as there is room; `curves.show` moves the cursor to the moment that is chosen.
function drawCurves() {
  const { section, svg, range } = curves, { epoch, train, validation } = facts.curves;
  const wide = Math.min(Math.max(svg.clientWidth, 280), 736), high = wide < 480 ? 220 : 300;
  const left = 36, right = wide - 84, top = 10, bottom = high - 28;
  const all = [...train, ...validation].filter((v) => v !== null), [first, last] = [epoch[0], epoch.at(-1)];
  const low = Math.min(...all), most = Math.max(...all), pad = (most - low || 1) * 0.06;
  const x = (e) => left + ((e - first) / (last - first || 1)) * (right - left);
  const y = (v) => top + ((most + pad - v) / (most - low + 2 * pad)) * (bottom - top);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  for (const v of ticks(low - pad, most + pad, 5)) {
    draw(svg, "line", { class: "grid", x1: left, x2: right, y1: y(v), y2: y(v) });
    draw(svg, "text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, `${Number(v.toFixed(6))}`);
  }
  for (const e of ticks(first, last, wide < 480 ? 4 : 6)) {
    draw(svg, "text", { x: x(e), y: high - 6, "text-anchor": "middle" }, `${Number(e.toFixed(6))}`);
  }
  draw(svg, "text", { x: right + 20, y: high - 6 }, "epochs");
  const cursor = draw(svg, "line", { class: "cursor", y1: top, y2: bottom });
  const words = { train: "trained on", validation: "held out" }, dots = {}, ends = {};
  for (const [name, values] of Object.entries({ train, validation })) {
    const points = values.flatMap((v, n) => (v === null ? [] : [[x(epoch[n]), y(v)]]));
    if (!points.length) continue;
    draw(svg, "path", { class: name, d: `M${points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join("L")}` });
    dots[name] = draw(svg, "circle", { class: name, r: 3.5 });
    ends[name] = points.at(-1)[1];
  }
  const near = Math.abs(ends.train - ends.validation) < 16 ? 8 : 0;
  for (const name of Object.keys(dots)) {
    const away = ends[name] === Math.max(...Object.values(ends)) ? near : -near;
    draw(svg, "text", { class: name, x: right + 10, y: ends[name] + 4 + away }, words[name]);
  }
  curves.nearest = (share) => {
    const distances = epoch.map((e) => Math.abs(x(e) - share * wide));
    return distances.indexOf(Math.min(...distances));
  };
  curves.show = () => {
    const n = Number(range.value), parts = [`Epoch ${Number(epoch[n].toFixed(2))}`];
    cursor.setAttribute("x1", x(epoch[n]));
    cursor.setAttribute("x2", x(epoch[n]));
    for (const [name, dot] of Object.entries(dots)) {
      const v = facts.curves[name][n];
      dot.setAttribute("visibility", v === null ? "hidden" : "visible");
      if (v === null) continue;
      dot.setAttribute("cx", x(epoch[n]));
      dot.setAttribute("cy", y(v));
      parts.push(`${words[name]} ${v.toFixed(3)}`);
    }
    range.setAttribute("aria-valuetext", parts.join(", "));
    say(section, parts.join(" · "));
  };
  curves.show();
}

function startCurves() {
  const { section, svg, range } = curves;
  section.hidden = false;
  range.max = range.value = facts.curves.epoch.length - 1;
  range.addEventListener("input", () => curves.show());
  range.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = svg.getBoundingClientRect();
    range.value = curves.nearest((clientX - left) / width);
    curves.show();
  });
  let wide = 0;
  new ResizeObserver(() => {
    if (wide !== svg.clientWidth) drawCurves();
    wide = svg.clientWidth;
  }).observe(svg);
}
