// What the page says of the model, and its beginning.

function start() {
  document.body.classList.add(facts.boundary ? "words" : "prose");
  document.body.classList.toggle("lines", facts.longest > 0);
  document.body.classList.toggle("code", !facts.boundary && "{};".split("").every((c) => facts.characters.includes(c)));
  $("#lead").textContent = facts.boundary
    ? `A small neural network has learned to make up ${thing()}s, letter by letter. It lives in this file and needs no ` +
      `connection. Choose a ${thing()} to see how it came about.`
    : "A small neural network has learned to write, letter by letter. It lives in this file and needs no connection.";
  const sizes = `${L > 1 ? `${L} layers of ` : ""}${plural(H, "unit")}, ${number.format(facts.parameters)} weights`;
  const disclosed = facts.index
    ? ` This file contains the ${plural(facts.index.length, thing())} it was trained on, to tell which are new.`
    : "";
  $("#foot").textContent = `An LSTM of ${sizes}${facts.half ? " in half precision" : ""}. ` +
    `Everything is computed on this device; nothing is loaded and nothing is sent.${disclosed} Made with fastlstm.`;
  const loaded = ask("load", { facts, weights: $("#weights").textContent, kernel: $("#kernel").textContent });
  loaded.catch((error) => say(facts.boundary ? names.section : text.section, error.message, true));
  startLetters();
  startInside();
  if (facts.boundary) startNames();
  else startText();
  if (facts.curves) startCurves();
}

start();
