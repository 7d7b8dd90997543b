// Read a stream of server-sent events; one event may arrive in several pieces.

/** Yields { data } for each event and { comment } for each comment, which the server uses for progress. */
export async function* events(body) {
  let rest = "";
  for await (const piece of pieces(body)) {
    const lines = (rest + piece).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield { data: line.slice(5).trim() };
      else if (line.startsWith(":")) yield { comment: line.slice(1).trim() };
    }
  }
}

// ReadableStream is not iterable in every browser.
async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    reader.cancel().catch(() => {}); // also where the reader of the events leaves early
  }
}
