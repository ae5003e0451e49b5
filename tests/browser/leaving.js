() => {
  const width = document.documentElement.clientWidth;
  const found = [];
  const scrolls = (element) => {
    for (let it = element.parentElement; it; it = it.parentElement) {
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(it).overflowX)) return true;
    }
    return false;
  };
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(".skip") || element.closest("svg") || scrolls(element)) continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const name = `${element.tagName} ${element.textContent.trim().slice(0, 40)}`;
    if (box.right > width + 1 || box.left < -1) found.push(`leaves the window: ${name}`);
    const card = element.parentElement.closest(".card")?.getBoundingClientRect();
    if (card && (box.right > card.right + 1 || box.left < card.left - 1)) {
      found.push(`leaves its card: ${name}`);
    }
  }
  return found;
}
