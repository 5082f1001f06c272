
// Part of the search page's language data: see Search in docs/conf.py. The word that `searched` and `plain` of workshop.site make.
const plain = word => word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const ENDINGS = [["cao", "ção"], ["ancia", "ância"], ["encia", "ência"], ["avel", "ável"], ["ivel", "ível"]];
const searched = word => ENDINGS.reduce(
  (text, [bare, accented]) => text.replace(RegExp(bare + "(s?)$"), accented + "$1"), plain(word).replace(/oes$/, "ao"));
const snowball = new PortugueseStemmer(), stems = new Map();
class Stemmer {
  stemWord(word) {
    if (!stems.has(word)) stems.set(word, plain(snowball.stemWord(searched(word))));
    return stems.get(word);
  }
}

// Under each page that was found, its best two sections, with the sentence around the words.
const quote = ([title, id, text], terms) => {
  const stemmer = new Stemmer();
  const matches = words => [...words.matchAll(/[\p{L}\p{N}_]+/gu)].filter(([word]) => terms.some(term => stemmer.stemWord(word).includes(term)));
  const named = matches(title).length, hits = matches(text);
  if (!named && !hits.length) return null;
  const first = hits[0]?.index ?? 0, from = Math.max(0, first - 70), to = first + 170;
  const place = document.createElement("p");
  let at = from && text.indexOf(" ", from) + 1;
  place.append(from ? "… " : "");
  for (const hit of hits.filter(hit => hit.index >= at && hit.index < to)) {
    place.append(text.slice(at, hit.index), Object.assign(document.createElement("mark"), {textContent: hit[0]}));
    at = hit.index + hit[0].length;
  }
  const end = text.length <= to ? text.length : Math.max(at, text.lastIndexOf(" ", to));
  place.append(text.slice(at, end), end < text.length ? " …" : "");
  const different = new Set(hits.map(([word]) => stemmer.stemWord(word))).size;
  return {title, id, place, weight: 20 * named + 10 * different + Math.min(hits.length, 9)};
};
const explain = (item, terms) => {
  const link = item.querySelector("a");
  const root = new URL(document.documentElement.dataset.content_root, location).href;
  const [page, hash] = link.href.slice(root.length).split("#");
  if (hash) return;  // a section, found by its title
  (TEXTS[decodeURI(page).replace(/\.html$/, "")] ?? [])
    .map(section => quote(section, terms))
    .filter(found => found)
    .sort((one, other) => other.weight - one.weight)
    .slice(0, 2)
    .forEach(({title, id, place}) => {
      const to = Object.assign(document.createElement("a"), {href: `${link.href}#${id}`, textContent: title});
      if (title !== link.textContent) place.prepend(to, " · ");
      item.append(place);
    });
};
document.addEventListener("DOMContentLoaded", () => {
  if (!document.getElementById("search-results")) return;  // the theme loads this everywhere
  const texts = document.createElement("script");
  texts.src = `${document.documentElement.dataset.content_root}_static/texts.js`;
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
