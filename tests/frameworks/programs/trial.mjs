// As trial.py: three ways to ask a model, for each model named; writes a line of JSON for each.
import { appendFileSync } from "node:fs";

export const QUESTION = "Say five words";
export const TOOL_QUESTION = "What is the weather in Paris?";
export const DESCRIPTION = "The weather in a city.";
export const weather = ({ city }) => `It is sunny in ${city}.`;

const SECONDS = 60;

const expired = () =>
  new Promise((_, reject) => {
    const late = () => reject(new Error(`no answer within ${SECONDS} s`));
    setTimeout(late, SECONDS * 1000).unref();
  });

export async function run(ways) {
  const [outcomes, ...models] = process.argv.slice(2);
  for (const [model, chosen] of models.map((argument) => argument.split("="))) {
    for (const way of chosen.split(",")) {
      const found = { model, way, pieces: [], error: "" };
      try {
        found.pieces = await Promise.race([ways[way](model), expired()]);
      } catch (error) {
        found.error = `${error?.name}: ${error?.message}`.slice(0, 600);
      }
      appendFileSync(outcomes, `${JSON.stringify(found)}\n`);
    }
  }
  process.exit(0);
}
