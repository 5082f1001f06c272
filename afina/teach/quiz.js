// A function of its own, so that two quizzes on a page share no name, and so that MathJax is undefined in it: jupyterquiz
// waits for no formula of ours. The box is the first of this quiz still to be filled: a notebook may be open twice. Options
// become buttons, each a stop of the Tab key: JupyterLab keeps the arrows, which radio buttons need, for moving between cells.
(function (MathJax) {
$library
const box = document.querySelector('.afina-quiz[data-quiz="$name"]:not([data-filled])');
if (!box) return;
box.dataset.filled = "";
box.textContent = "";
$items.forEach((item, i) => Question.create(item, makeid(8), i, {shuffleAnswers: false, maxWidth: 720}, box));
const score = box.appendChild(document.createElement("div"));
score.className = "afina-score";
const all = [...box.querySelectorAll(".Feedback")];
const options = [...box.querySelectorAll(".MCButton")];
[score, ...all].forEach(place => place.setAttribute("role", "status"));
box.querySelectorAll(".Quiz").forEach((one, i) => {
  one.setAttribute("role", "group");
  one.setAttribute("aria-label", "Pergunta " + (i + 1) + ": " + one.firstChild.textContent);
});
options.forEach(option => {
  option.querySelector("input").remove();
  option.tabIndex = 0;
  option.setAttribute("role", "button");
  option.addEventListener("keydown", event => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    option.click();
  });
});
const tell = () => {
  const right = all.filter(f => f.classList.contains("correct") &&
    (f.dataset.numcorrect <= 1 || f.dataset.answeredcorrect === f.dataset.numcorrect)).length;
  score.textContent = right + " de " + all.length + (right === 1 ? " certa" : " certas");
  options.forEach(o => o.setAttribute("aria-pressed", o.matches(".correctButton, .incorrectButton")));
};
box.addEventListener("click", tell);
tell();
})();
