// Answers that go on: read as lines, or as server-sent events.

/** The lines of an answer, as they come: all that are whole by then at once. */
export async function* lines(answer: Response): AsyncGenerator<string[]> {
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop() ?? "";
    yield whole;
  }
}

/** The data of server-sent events, as text. */
export async function* events(answer: Response): AsyncGenerator<string> {
  for await (const some of lines(answer)) {
    for (const line of some) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}

/** Give the body of an answer to the browser as a file. */
export async function saveAs(answer: Response, name: string): Promise<void> {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
