
// Part of the search page's language data: see Search in docs/conf.py. The word that `searched` and `plain` of afina.teach.site make.
const plain = word => word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const ENDINGS = [["cao", "ção"], ["ancia", "ância"], ["encia", "ência"], ["avel", "ável"], ["ivel", "ível"]];
const searched = word => ENDINGS.reduce(
  (text, [bare, accented]) => text.replace(RegExp(bare + "(s?)$"), accented + "$1"), plain(word).replace(/oes$/, "ao"));
class Stemmer {
  stemWord(word) { return plain(new PortugueseStemmer().stemWord(searched(word))); }
}

// Under each page that was found, its best two sections, with the sentence around the words.
const quote = (text, terms) => {
  const stemmer = new Stemmer(), words = [...text.matchAll(/[\p{L}\p{N}_]+/gu)];
  const hits = words.filter(([word]) => terms.some(term => stemmer.stemWord(word).includes(term)));
  if (!hits.length) return null;
  const found = new Set(hits.map(([word]) => stemmer.stemWord(word))).size;
  const from = Math.max(0, hits[0].index - 70), to = hits[0].index + 170;
  const place = document.createElement("p");
  let at = from && text.indexOf(" ", from) + 1;
  place.append(from ? "… " : "");
  for (const hit of hits.filter(hit => hit.index >= at && hit.index < to)) {
    place.append(text.slice(at, hit.index), Object.assign(document.createElement("mark"), {textContent: hit[0]}));
    at = hit.index + hit[0].length;
  }
  const end = text.lastIndexOf(" ", to);
  place.append(text.slice(at, Math.max(at, text.length <= to ? text.length : end)), text.length > to ? " …" : "");
  return {place, weight: 10 * found + Math.min(hits.length, 9)};
};
const explain = (item, terms) => {
  const link = item.querySelector("a");
  if (item.classList.contains("kind-title") && link.hash) return;
  const page = decodeURI(new URL(link.href).pathname.slice(new URL(".", location).pathname.length)).replace(/\.html$/, "");
  (TEXTS[page] ?? [])
    .map(([title, id, text]) => ({title, id, ...quote(`${text}`, terms)}))
    .filter(({place}) => place)
    .sort((one, other) => other.weight - one.weight)
    .slice(0, 2)
    .forEach(({title, id, place}) => {
      const to = Object.assign(document.createElement("a"), {href: `${link.href.split("#")[0]}#${id}`, textContent: title});
      if (title !== link.textContent) place.prepend(to, " · ");
      item.append(place);
    });
};
document.addEventListener("DOMContentLoaded", () => {
  const texts = document.createElement("script");
  texts.src = "_static/texts.js";
  const ready = new Promise(resolve => { texts.onload = resolve; });
  document.body.append(texts);
  const stop = Search.stopPulse;
  Search.stopPulse = () => {
    stop();
    const [, terms] = Search._parseQuery(new URLSearchParams(location.search).get("q"));
    const items = [...Search.output.children];
    ready.then(() => items.forEach(item => explain(item, [...terms])));
  };
});
