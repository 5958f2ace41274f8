"""The SDK's code interpreter: state, errors, pictures and contexts."""

import asyncio
import uuid

from blaxel.core.sandbox import CodeInterpreter


async def main() -> None:
    interpreter = await CodeInterpreter.create({"name": f"code-{uuid.uuid4().hex[:8]}"})
    try:
        for attempt in range(12):
            try:
                await interpreter.run_code("x = 40", timeout=120)
                break
            except RuntimeError as problem:
                if "504" not in str(problem) or attempt == 11:
                    raise
        done = await interpreter.run_code("import sys; print(x); sys.stderr.write('e'); x + 2")
        assert done.logs.stdout == ["40\n"], done.logs.stdout
        assert done.logs.stderr == ["e"], done.logs.stderr
        assert [result.text for result in done.results] == ["42"]
        failed = await interpreter.run_code("{}['nothing']")
        assert failed.error is not None
        assert failed.error.name == "KeyError"
        context = await interpreter.create_code_context(language="python")
        other = await interpreter.run_code("'x' in globals()", context=context)
        assert [result.text for result in other.results] == ["False"]
        given = await interpreter.run_code("import os; os.environ['MOOD']", envs={"MOOD": "good"})
        assert [result.text for result in given.results] == ["good"]
        gone = await interpreter.run_code("import os; 'MOOD' in os.environ")
        assert [result.text for result in gone.results] == ["False"]
        code = "import matplotlib.pyplot as p; p.plot([1, 2]); p.show()"
        drawn = await interpreter.run_code(code, timeout=120)
        assert any(getattr(result, "png", None) for result in drawn.results), drawn.results
        frame = await interpreter.run_code("import pandas; pandas.DataFrame({'a': [1]})")
        assert any(getattr(result, "html", None) for result in frame.results)
        print("done")
    finally:
        await interpreter.delete()


asyncio.run(main())
