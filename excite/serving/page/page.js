import { chooseLanguage, texts } from "./texts.js";

const language = chooseLanguage(navigator.languages);
const text = texts[language];
const locale = language === "zh" ? "zh-CN" : "en";
const percentages = new Intl.NumberFormat(locale, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const numbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const comma = language === "zh" ? "、" : ", ";
const SIDE = 340; // pixels of a picture
const SHOWN = 5; // classes of a picture
const AT_ONCE = 2; // requests
const ATTEMPTS = 4; // of a picture, while the service is busy
const find = (selector, root = document) => root.querySelector(selector);

let key = ""; // in memory only
let model = null;
let running = 0;
const waiting = [];

const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** A probability; one that is nearly 0 or 1 is not rounded to it. */
function percent(value) {
  if (value > 0.999 && value < 1) return `>${percentages.format(0.999)}`;
  if (value < 0.001 && value > 0) return `<${percentages.format(0.001)}`;
  return percentages.format(value);
}

function element(name, content, className) {
  const node = document.createElement(name);
  if (content !== undefined) node.textContent = content;
  if (className) node.className = className;
  return node;
}

function alertUser(message) {
  find("#alert").textContent = message;
  find("#alert").hidden = !message;
}

const send = (path, options = {}) =>
  fetch(path, { ...options, headers: key ? { Authorization: `Bearer ${key}` } : {}, cache: "no-store" });

async function load() {
  let response;
  try {
    response = await send("/model");
  } catch {
    alertUser(text.unavailable);
    return;
  }
  if (response.status === 401) {
    if (key) alertUser(text.keyWrong);
    find("#key-form").hidden = false;
    find("#key").focus();
    return;
  }
  if (!response.ok) {
    alertUser((await response.json()).error);
    return;
  }
  model = await response.json();
  alertUser("");
  find("#key-form").hidden = true;
  showModel();
}

const isLabels = () => model.task === "multilabel";
const nouns = () => (isLabels() ? text.labels : text.classes);

function showModel() {
  document.title = `${model.name} · excite`;
  find("#name").textContent = model.name;
  const shown = model.classes.slice(0, 12).join(comma) + (model.classes.length > 12 ? `${comma}…` : "");
  find("#classes").textContent = `${nouns()}${language === "zh" ? "：" : ": "}${shown}`;
  find("#about-open").hidden = find("#intake").hidden = false;
  find("[data-text=intake]").textContent = isLabels() ? text.intakeLabels : text.intake;
  find("#files").accept = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff";
  find("#about-facts").replaceChildren(...facts().flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  find("#about-limits").replaceChildren(...limits().map((each) => element("li", each)));
}

const limitValues = () => ({
  formats: model.limits.formats.join(comma),
  bytes: numbers.format(model.limits.max_bytes / 2 ** 20),
  pixels: numbers.format(model.limits.max_pixels / (language === "zh" ? 1e4 : 1e6)),
});

function facts() {
  const rows = [[nouns(), model.classes.join(comma)]];
  const accuracy = isLabels() ? model.metrics.auroc : model.metrics.accuracy;
  if (accuracy) {
    const values = { value: percent(accuracy.value), n: numbers.format(model.metrics.n) };
    const hasInterval = accuracy.low !== null && accuracy.high !== null;
    if (hasInterval) Object.assign(values, { low: percent(accuracy.low), high: percent(accuracy.high) });
    rows.push([isLabels() ? text.auroc : text.accuracy, fill(hasInterval ? text.accuracyValue : text.accuracyPoint, values)]);
  }
  if (model.abstain_below !== null) rows.push([text.abstainBelow, percent(model.abstain_below)]);
  if (model.positive) {
    const values = { label: model.positive.label, value: percent(model.positive.threshold) };
    rows.push([text.positive, fill(text.positiveValue, values)]);
  }
  if (model.license) rows.push([text.license, model.license]);
  const weights = Object.entries(model.sha256).filter(([name]) => name.includes("model.safetensors"));
  if (weights.length) rows.push([text.weights, weights.map(([, hash]) => hash.slice(0, 16)).join(", ")]);
  return rows;
}

function limits() {
  const lines = [isLabels() ? text.limitLabels : text.limitClasses, text.limitResize[model.resize_mode]];
  if (model.reference) lines.push(fill(text.limitCalibrated, { n: numbers.format(model.reference.images) }));
  return [...lines, fill(text.limitFiles, limitValues())];
}

// Pictures in, cards out

function add(files, name) {
  for (const file of files) {
    const card = makeCard(file, name ?? file.name);
    waiting.push(card);
  }
  next();
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    classify(waiting.shift()).finally(() => {
      running -= 1;
      next();
    });
  }
}

function makeCard(file, name) {
  const node = find("#card").content.firstElementChild.cloneNode(true);
  const picture = find(".picture", node);
  const card = { file, name, node, address: URL.createObjectURL(file) };
  picture.alt = name;
  picture.addEventListener("load", () => {
    const ratio = picture.naturalWidth / picture.naturalHeight;
    find(".frame", node).style.maxWidth = `${Math.max(60, SIDE * Math.min(1, ratio))}px`;
  });
  picture.addEventListener("error", () => {
    picture.hidden = true;
    find(".overlay", node).hidden = find(".evidence", node).hidden = true;
    find(".no-preview", node).textContent = text.noPreview;
    find(".no-preview", node).hidden = false;
  });
  picture.src = card.address;
  find(".file", node).textContent = name;
  find(".again", node).textContent = text.again;
  find(".again", node).addEventListener("click", () => {
    waiting.push(card);
    node.focus();
    next();
  });
  find("#results").hidden = false;
  find("#cards").prepend(node);
  node.dataset.address = card.address;
  work(card);
  return card;
}

function work(card) {
  card.node.className = "card working";
  card.node.setAttribute("aria-busy", "true");
  find(".answer", card.node).textContent = text.loading;
  for (const part of [".again", ".note", ".more", ".disagreement", ".evidence"]) find(part, card.node).hidden = true;
  find(".detail", card.node).textContent = "";
}

async function classify(card) {
  work(card);
  if (card.file.size > model.limits.max_bytes) return fail(card, { code: "too_large" });
  for (let attempt = 1; ; attempt += 1) {
    let response;
    let answer;
    try {
      response = await send("/predict?evidence=1", { method: "POST", body: card.file });
      answer = await response.json();
    } catch {
      return fail(card, { code: "gone" });
    }
    if (response.ok) return show(card, answer.predictions[0]);
    if (response.status !== 503 || attempt === ATTEMPTS) return fail(card, answer);
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, 10)));
  }
}

function finish(card, state, answer) {
  card.node.className = `card ${state}`;
  card.node.removeAttribute("aria-busy");
  find(".answer", card.node).textContent = answer;
  find("#status").textContent = fill(text.statusDone, { file: card.name, answer });
}

function fail(card, { code, error }) {
  finish(card, "failed", text.failed);
  const message = text.failures[code] ?? text.failures.other;
  find(".detail", card.node).textContent = fill(message, { ...limitValues(), reason: error });
  find(".bars", card.node).replaceChildren();
  find(".again", card.node).hidden = !["gone", "late", "limited", "overloaded"].includes(code);
}

function show(card, found) {
  const node = card.node;
  if (found.labels) return showLabels(card, found);
  finish(card, found.abstained ? "abstained" : "answered", found.abstained ? text.abstained : found.label);
  if (found.abstained) {
    const [label, value] = Object.entries(found.probabilities).reduce((a, b) => (b[1] > a[1] ? b : a));
    find(".note", node).textContent = fill(text.abstainedNote, { label, value: percent(value), limit: percent(model.abstain_below) });
    find(".note", node).hidden = false;
  } else {
    find(".detail", node).textContent = fill(text.detail, { value: percent(found.probability) });
  }
  showBars(node, found);
  showDisagreement(node, found);
  if (found.evidence && !find(".picture", node).hidden) showEvidence(node, found);
}

function showLabels(card, found) {
  const node = card.node;
  finish(card, "answered", found.labels.length ? found.labels.join(comma) : text.noLabel);
  find(".detail", node).textContent = found.labels
    .map((label) => fill(text.labelDetail, { label, value: percent(found.probabilities[label]), limit: percent(found.thresholds[label]) }))
    .join(comma);
  showBars(node, found);
  if (found.evidence && !find(".picture", node).hidden) showEvidence(node, found);
}

function showBars(node, found) {
  const rows = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]);
  const bars = rows.map(([label, value]) => {
    const bar = element("li");
    const length = element("i");
    length.style.width = `${100 * value}%`;
    bar.append(length, element("span", label), element("span", percent(value)));
    return bar;
  });
  const more = find(".more", node);
  find(".bars", node).replaceChildren(...bars.slice(0, SHOWN));
  more.hidden = bars.length <= SHOWN;
  more.textContent = fill(isLabels() ? text.moreLabels : text.more, { n: bars.length });
  more.onclick = () => {
    find(".bars", node).replaceChildren(...bars);
    more.hidden = true;
  };
}

function showDisagreement(node, found) {
  const each = found.disagreement;
  if (!each) return;
  const values = { ...each, low: percent(each.low), high: percent(each.high), label: found.label };
  find(".disagreement", node).textContent = fill(each.disagreeing ? text.disagreementSome : text.disagreementAll, values);
  find(".disagreement", node).hidden = false;
}

function showEvidence(node, found) {
  const [left, top, right, bottom] = found.evidence.box;
  const overlay = find(".overlay", node);
  overlay.src = `data:image/png;base64,${found.evidence.png}`;
  Object.assign(overlay.style, {
    left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
  });
  overlay.hidden = false;
  const slider = find("input", find(".evidence", node));
  const label = find("label", find(".evidence", node));
  slider.id = `opacity-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  label.htmlFor = slider.id;
  label.textContent = text.evidence;
  const set = () => {
    overlay.style.opacity = slider.value / 100;
    slider.setAttribute("aria-valuetext", `${slider.value} %`);
  };
  slider.addEventListener("input", set);
  set();
  const speaks = element("span", undefined, "orange");
  const against = element("span", undefined, "cool");
  find(".legend", node).replaceChildren(
    speaks, `${fill(text.evidenceFor, { label: found.evidence.class })}   `, against, text.evidenceAgainst,
  );
  find(".evidence", node).hidden = false;
}

// The camera

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    find("#capture").click();
    return;
  }
  try {
    find("#video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    alertUser(fill(text.cameraDenied, { reason: error.message }));
    return;
  }
  alertUser("");
  find("#camera").showModal();
}

function shoot() {
  const video = find("#video");
  const canvas = element("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => add([blob], text.photo), "image/png");
  find("#camera").close();
}

find("#camera").addEventListener("close", () => {
  for (const track of find("#video").srcObject?.getTracks() ?? []) track.stop();
  find("#video").srcObject = null;
});

// Events

const pictures = (list) => [...(list ?? [])].filter((item) => item.size > 0 || item.name);
document.documentElement.lang = locale;
for (const node of document.querySelectorAll("[data-text]")) node.textContent = text[node.dataset.text];
for (const name of ["files", "capture"]) {
  find(`#${name}`).addEventListener("change", ({ target }) => {
    add(pictures(target.files));
    target.value = "";
  });
}
find("#choose").addEventListener("click", () => find("#files").click());
find("#camera-open").addEventListener("click", openCamera);
find("#camera-close").addEventListener("click", () => find("#camera").close());
find("#shoot").addEventListener("click", shoot);
find("#about-open").addEventListener("click", () => find("#about").showModal());
find("#clear").addEventListener("click", () => {
  waiting.length = 0;
  for (const node of find("#cards").children) URL.revokeObjectURL(node.dataset.address);
  find("#cards").replaceChildren();
  find("#results").hidden = true;
  find("#choose").focus();
});
find("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = find("#key").value.trim();
  load();
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  find("#intake").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) find("#intake").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  find("#intake").classList.remove("over");
  if (model) add(pictures(event.dataTransfer.files));
});
addEventListener("paste", (event) => {
  if (model) add(pictures(event.clipboardData?.files), text.pasted);
});
load();
