"use strict";
// The chat page: no library, nothing fetched but this server. What the model writes reaches the page as text, never as HTML.
// The conversation and the key stay in this tab (sessionStorage): a reload keeps them, closing the tab forgets them.
const $ = id => document.getElementById(id);
const store = {
  get(name, otherwise) { try { return JSON.parse(sessionStorage.getItem(name)) ?? otherwise; } catch { return otherwise; } },
  set(name, value) { try { sessionStorage.setItem(name, JSON.stringify(value)); } catch { /* full or forbidden: only this tab's memory */ } },
};
let key = store.get("key", "");
let turns = store.get("turns", []); // {role, text, id, question, state, rating, correction, labels}
let card = null; // what /v1/models says of the model
let running = null; // AbortController of the answer under way
let leaving = false; // a reload cuts the answer under way: that is no error of the server's

// --- talking to the server ------------------------------------------------------------------------------------------

class ServerError extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function call(path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET", signal,
      headers: {Authorization: "Bearer " + key, ...(body && {"Content-Type": "application/json"})},
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("O servidor não respondeu. Veja se afina serve ainda está rodando.", 0);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new ServerError(told?.error?.message || "O servidor recusou o pedido (" + response.status + ").", response.status);
}

// Server-sent events, one JSON value at a time; bytes may be cut anywhere, in the middle of a letter too.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) throw new ServerError("A resposta foi cortada antes do fim.", 0);
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const told = JSON.parse(data);
      if (told.error) throw new ServerError(told.error.message, 0);
      yield told;
    }
  }
}

// --- the conversation -----------------------------------------------------------------------------------------------

const save = () => store.set("turns", turns);
const atBottom = () => { const m = document.querySelector("main"); return m.scrollHeight - m.scrollTop - m.clientHeight < 80; };
const toBottom = () => { const m = document.querySelector("main"); m.scrollTop = m.scrollHeight; };

function show(turn) {
  const item = $("said").content.firstElementChild.cloneNode(true);
  turn.item = item;
  Object.defineProperty(turn, "item", {enumerable: false}); // it is not saved
  item.className = turn.role;
  item.querySelector(".who").textContent = turn.role === "user" ? "Você" : card ? card.id : "Modelo";
  if (turn.role === "user") {
    item.querySelectorAll(".actions, .correction, .state").forEach(part => part.remove());
    item.querySelector(".text").textContent = turn.text;
  } else {
    item.querySelectorAll(".thumb").forEach(thumb => thumb.addEventListener("click", () => {
      opine(turn, {rating: turn.rating === thumb.dataset.rating ? null : thumb.dataset.rating});
    }));
    const form = item.querySelector(".correction"), text = form.querySelector("textarea"), list = form.querySelector("select");
    const fix = item.querySelector(".fix");
    fix.addEventListener("click", () => {
      const labels = turn.labels || [];
      text.hidden = labels.length > 0;
      list.hidden = labels.length === 0;
      list.replaceChildren(...labels.map(([label]) => new Option(label)));
      (labels.length ? list : text).value = turn.correction ?? turn.text;
      form.hidden = false;
      form.scrollIntoView({block: "nearest"});
      (labels.length ? list : text).focus();
    });
    const close = () => { form.hidden = true; fix.focus(); };
    form.querySelector(".cancel").addEventListener("click", close);
    form.addEventListener("keydown", event => { if (event.key === "Escape") close(); });
    form.addEventListener("submit", event => {
      event.preventDefault();
      opine(turn, {rating: "down", correction: (list.hidden ? text : list).value}, close);
    });
    item.querySelector(".again").addEventListener("click", () => answer(turn.question));
    draw(turn);
  }
  $("log").append(item);
  $("welcome").hidden = true;
}

function draw(turn) {
  const item = turn.item, busy = turn.state === "busy", text = item.querySelector(".text");
  if (turn.labels) {
    const bars = document.createElement("div");
    bars.className = "bars";
    for (const [label, chance] of turn.labels) {
      const name = document.createElement("span"), bar = document.createElement("progress"), share = document.createElement("span");
      name.textContent = label;
      bar.value = chance;
      bar.setAttribute("aria-label", label);
      share.textContent = (100 * chance).toFixed(0) + " %";
      bars.append(name, bar, share);
    }
    text.replaceChildren(bars);
  } else {
    text.textContent = turn.text || (busy ? "" : "(resposta vazia)");
  }
  item.setAttribute("aria-busy", busy);
  item.querySelector(".actions").hidden = busy;
  item.querySelector(".again").hidden = !turn.broken;
  item.querySelectorAll(".thumb, .fix").forEach(part => { part.hidden = Boolean(turn.broken); });
  item.querySelectorAll(".thumb").forEach(thumb => thumb.setAttribute("aria-pressed", thumb.dataset.rating === turn.rating));
  item.querySelector(".state").textContent = busy ? "" : [turn.note, turn.saved].filter(Boolean).join(" · ");
}

function context(question) {
  const before = [];
  if ($("memory").checked) {
    for (const turn of turns) {
      if (turn === question) break;
      if (turn.role === "user") before.push({role: "user", content: turn.text});
      else if (!turn.broken && turn.text) before.push({role: "assistant", content: turn.text});
      else before.pop(); // a question without an answer
    }
  }
  return [...before, {role: "user", content: question.text}];
}

async function answer(text) {
  if (running || !card) return;
  $("notice").hidden = true;
  const question = {role: "user", text};
  turns.push(question);
  show(question);
  const turn = {role: "assistant", text: "", question: text, state: "busy", messages: context(question)};
  turns.push(turn);
  show(turn);
  toBottom();
  busy(true);
  const start = performance.now();
  let last = 0;
  try {
    await (card.kind === "classifier" ? classify : chat)(turn, () => {
      const follow = atBottom();
      draw(turn);
      if (follow) toBottom();
      if (performance.now() - last > 250) { save(); last = performance.now(); }
    });
    const seconds = (performance.now() - start) / 1000;
    turn.note = (turn.tokens ? turn.tokens + " tokens em " : "") + seconds.toFixed(1).replace(".", ",") + " s" +
      (turn.end === "length" ? " · cortada no limite de tokens" : "");
  } catch (error) {
    if (leaving) return; // saved as it is; the page that comes says what happened
    turn.broken = true;
    if (error.name === "AbortError") turn.note = "Você parou esta resposta.";
    else {
      turn.note = "Sem resposta.";
      tell(error);
    }
  }
  turn.state = "done";
  draw(turn);
  save();
  busy(false);
  toBottom();
  $("question").focus();
}

async function chat(turn, progress) {
  const body = {
    model: card.id, messages: turn.messages, stream: true, stream_options: {include_usage: true},
    temperature: Number($("temperature").value), max_tokens: Number($("tokens").value),
  };
  for await (const chunk of events(await call("v1/chat/completions", body, running.signal))) {
    turn.id = chunk.id;
    if (chunk.usage) turn.tokens = chunk.usage.completion_tokens;
    const choice = chunk.choices[0];
    if (!choice) continue;
    turn.text += choice.delta.content || "";
    turn.end = choice.finish_reason || turn.end;
    progress();
  }
}

async function classify(turn, progress) {
  const told = await (await call("v1/classify", {model: card.id, input: turn.question}, running.signal)).json();
  turn.id = told.id;
  turn.text = told.data[0].label;
  turn.labels = told.labels.map((label, i) => [label, told.data[0].probs[i]]).sort((a, b) => b[1] - a[1]);
  progress();
}

async function opine(turn, change, then) {
  const now = {rating: turn.rating ?? null, correction: turn.correction ?? null, ...change};
  try {
    await call("v1/feedback", {id: turn.id, model: card.id, messages: turn.messages, answer: turn.text, ...now});
    Object.assign(turn, now);
    turn.saved = now.correction ? "Correção guardada." : now.rating ? "Opinião guardada." : "Opinião retirada.";
    $("notice").hidden = true;
    draw(turn);
    save();
    then?.();
  } catch (error) {
    tell(error);
  }
}

function tell(error) {
  if (error.status === 401) return ask();
  $("notice").textContent = error.message;
  $("notice").hidden = false;
}

function busy(yes) {
  running = yes ? new AbortController() : null;
  $("send").hidden = yes;
  $("stop").hidden = !yes;
}

// --- the door, the form, the theme ----------------------------------------------------------------------------------

function ask(why = "") {
  $("door-error").textContent = why;
  if (!$("door").open) $("door").showModal();
}

async function enter() {
  if (!key) return ask();
  try {
    card = (await (await call("v1/models")).json()).data[0];
  } catch (error) {
    return error.status === 401 ? ask(store.get("key", "") ? "Esta chave não serve." : "") : tell(error);
  }
  $("door").close();
  $("notice").hidden = true;
  $("model").textContent = "· " + card.id;
  $("about").textContent = card.about + ", " + card.context + " tokens de contexto";
  document.title = card.id + " · Afina";
  $("memory").checked = store.get("memory", card.context >= 2048);
  $("tokens").max = card.context;
  if (card.kind === "classifier") {
    $("settings").hidden = true;
    $("question").placeholder = "Um texto para classificar";
  }
  document.querySelectorAll("li.assistant .who").forEach(who => { who.textContent = card.id; });
  $("question").focus();
}

const dark = () => document.documentElement.dataset.theme === "dark" ||
  (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  $("theme").textContent = dark() ? "Tema claro" : "Tema escuro";
}

$("ask").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("question").value.trim();
  if (!text || running || !card) return;
  $("question").value = "";
  answer(text);
});
$("question").addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", () => {
  running?.abort();
  turns = [];
  save();
  $("log").replaceChildren();
  $("welcome").hidden = false;
  $("notice").hidden = true;
  $("question").focus();
});
$("theme").addEventListener("click", () => {
  const chosen = dark() ? "light" : "dark";
  store.set("theme", chosen);
  theme(chosen);
});
$("memory").addEventListener("change", () => store.set("memory", $("memory").checked));
$("door-form").addEventListener("submit", event => {
  event.preventDefault();
  key = $("key").value.trim();
  store.set("key", key);
  enter();
});
addEventListener("beforeunload", () => { leaving = true; save(); });
addEventListener("pagehide", save);
addEventListener("pageshow", () => { leaving = false; });

theme(store.get("theme", null));
const fragment = new URLSearchParams(location.hash.slice(1)).get("key");
if (fragment) { // the fragment never reaches the server; here it leaves the address bar and the browser's history too
  key = fragment;
  store.set("key", key);
  history.replaceState(null, "", location.pathname);
}
for (const turn of turns) {
  if (turn.state === "busy") { // the page was reloaded in the middle
    Object.assign(turn, {state: "done", broken: true, note: "A página foi recarregada no meio desta resposta."});
  }
  show(turn);
}
toBottom();
enter();
