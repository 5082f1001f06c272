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
// A table of results scrolls inside its frame; one of prose becomes, on a phone, a card for each row (site.css), with its headings inside.
for (const table of document.querySelectorAll(".bd-article table")) {
  const frame = document.createElement("div");
  frame.className = "scrolls";
  table.replaceWith(frame);
  frame.append(table);
  if (table.closest(".cell_output")) continue;
  table.classList.add("prose");
  const names = [...table.querySelectorAll("thead th")].map(name => name.textContent.trim());
  for (const row of table.tBodies[0]?.rows ?? []) {
    [...row.cells].forEach((cell, i) => {
      cell.dataset.name = names[i] ?? "";
      cell.classList.toggle("blank", !cell.textContent.trim());
    });
  }
}
for (const box of document.querySelectorAll(".scrolls, .bd-article pre")) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;  // for whoever has no mouse
}
