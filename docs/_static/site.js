// The quizzes of the pages (afina.teach.quiz.as_page): a press on an option answers, and the answer explains itself.
for (const quiz of document.querySelectorAll(".quiz")) {
  const items = [...quiz.querySelectorAll(".item")];
  const score = quiz.querySelector(".score");
  const chosen = option => option.getAttribute("aria-pressed") === "true";
  const choose = (option, yes) => {
    option.setAttribute("aria-pressed", yes);
    option.nextElementSibling.innerHTML = yes ? option.nextElementSibling.dataset.text : "";
  };
  const tell = () => {
    const right = items.filter(item =>
      [...item.querySelectorAll("button")].every(option => chosen(option) === (option.dataset.correct === "true"))).length;
    score.textContent = `${right} de ${items.length} ${right === 1 ? "certa" : "certas"}`;
  };
  for (const item of items) {
    const options = [...item.querySelectorAll("button")];
    for (const option of options) {
      const why = option.nextElementSibling;
      why.dataset.text = why.innerHTML;
      why.setAttribute("role", "status");
      choose(option, false);
      option.addEventListener("click", () => {
        const yes = !chosen(option);
        if (item.dataset.kind === "one") options.forEach(other => choose(other, false));
        choose(option, yes);
        tell();
      });
    }
  }
  quiz.classList.add("ready");
  tell();
}
// A table or a line of code wider than a phone scrolls by itself, and a keyboard may scroll it too.
for (const box of document.querySelectorAll(".bd-article table")) {
  const frame = document.createElement("div");
  frame.className = "scrolls";
  box.replaceWith(frame);
  frame.append(box);
}
for (const box of document.querySelectorAll(".scrolls, .bd-article pre")) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
}
