// The views beside the picture. Each draws what Python computed (`numbers`), or what the program in the browser says.

const VIEWS = ["mask", "tiles"];

// Returns extras(show): brings the view up to date, and says whether the figures belong to it.
function viewsOf(box, host) {
  return (show) => true;
}
