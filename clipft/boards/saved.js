// The boards of a saved page; all other files of the board stand above this text. Each lies in the
// page as JSON behind its place, and what several of them need lies there once.
class SavedBoard extends Saved {
  // small: id -> a thumbnail as base64
  constructor(answers, blobs, libraries, small) {
    super(answers, blobs);
    Object.assign(this, {libraries, small});
  }

  async ask(question) {
    if (question.what !== "library") return super.ask(question);
    if (question.name === "plotly") return {arrays: {packed: packedInPage()}};
    return {arrays: {packed: bytesOf(this.libraries[question.name])}};
  }

  async images(run, ids) {
    return ids.map((id) => (Object.hasOwn(this.small, id) ? `data:image/webp;base64,${this.small[id]}` : null));
  }
}

function openBoards() {
  const told = (name) => JSON.parse(document.getElementById(name).textContent);
  const blobs = told("clipft-blobs");
  const libraries = told("clipft-libraries");
  const images = told("clipft-images");
  for (const place of document.querySelectorAll(".clipft-board-place")) {
    const {about, state, answers, imagesOf} = JSON.parse(place.nextElementSibling.textContent);
    const source = new SavedBoard(answers, blobs, libraries, images[imagesOf] ?? {});
    try {
      new Board(place, new Store(state), source, {about, live: false});
    } catch (error) {
      place.append(element("p", {className: "clipft-gone", role: "status"}, error.message));
      console.error(error);
    }
  }
}

if (document.readyState === "loading") addEventListener("DOMContentLoaded", openBoards);
else openBoards();
