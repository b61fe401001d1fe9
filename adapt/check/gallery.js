"use strict";
(() => {
  const root = document.documentElement;
  const form = document.getElementById("tools");
  const cards = [...document.querySelectorAll("article.card")];
  const count = document.getElementById("count");
  const nothing = document.getElementById("nothing");
  const dialog = document.getElementById("large");
  const number = new Intl.NumberFormat("en");
  const records = (count) => `${number.format(count)} record${count === 1 ? "" : "s"}`;

  // A picture stands once in the page, as text; a card that comes near the window takes its own from there.
  const addresses = new Map();
  function address(place) {
    if (!addresses.has(place)) {
      addresses.set(place, "data:image/jpeg;base64," + document.getElementById("picture-" + place).textContent.trim());
    }
    return addresses.get(place);
  }
  function showPictures(card) {
    for (const image of card.querySelectorAll("img[data-picture]")) {
      image.src = address(image.dataset.picture);
      image.removeAttribute("data-picture");
    }
  }
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { near.unobserve(entry.target); showPictures(entry.target); }
    }
  }, { rootMargin: "900px 0px" });
  cards.forEach((card) => near.observe(card));
  window.addEventListener("beforeprint", () => cards.forEach(showPictures));

  const texts = new Map();
  function textOf(card) {
    if (!texts.has(card)) { texts.set(card, card.textContent.toLowerCase().replace(/\s+/g, " ")); }
    return texts.get(card);
  }
  function choose() {
    const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = [...form.querySelectorAll("select")].filter((each) => each.selectedIndex > 0);
    let shown = 0;
    for (const card of cards) {
      const matches = wanted.every((each) => card.dataset[each.name] === each.value)
        && words.every((word) => textOf(card).includes(word));
      card.hidden = !matches;
      shown += matches;
    }
    count.textContent = shown === cards.length
      ? records(shown) : `${number.format(shown)} of ${records(cards.length)}`;
    nothing.hidden = shown > 0;
  }
  let waiting = 0;
  form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 80); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(choose));
  for (const name of ["boxes", "names"]) {
    const box = form.elements[name];
    box?.addEventListener("change", () => root.classList.toggle("no-" + name, !box.checked));
  }

  function remember(theme) { try { localStorage.setItem("adapt-theme", theme); } catch { /* a page from a file may not */ } }
  try {
    const theme = localStorage.getItem("adapt-theme");
    if (theme === "light" || theme === "dark") { root.dataset.theme = theme; }
  } catch { /* the system's choice stays */ }
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember(root.dataset.theme);
  });

  function enlarge(stage) {
    const copy = stage.cloneNode(true);
    const [width, height] = [Number(stage.dataset.width), Number(stage.dataset.height)];
    const scale = Math.min(window.innerWidth * 0.96 / width, (window.innerHeight * 0.96 - 80) / height);
    copy.style.width = Math.round(width * scale) + "px";
    copy.style.maxWidth = "none";
    dialog.querySelector(".stage")?.remove();
    dialog.append(copy);
    dialog.showModal();
  }
  document.addEventListener("click", (event) => {
    const stage = event.target.closest(".stage");
    if (dialog.open) { if (stage || event.target === dialog) { dialog.close(); } return; }
    if (stage) { enlarge(stage); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(event.target.tagName)) {
      event.preventDefault();
      form.elements.search.focus();
    }
  });
  choose();
})();
