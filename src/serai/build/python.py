"""Python projects: what to install, and how they start."""

from serai.build.failures import BuildFailed
from serai.build.plans import ROOM, Plan, wanted_command
from serai.build.sources import Project

BASE = "blaxel/py-app:latest"
ENTRY_FILES = (
    "app.py",
    "main.py",
    "api.py",
    "app/main.py",
    "app/app.py",
    "app/api.py",
    "src/main.py",
    "src/app.py",
    "src/api.py",
)
"""Where a project starts that does not say it; the order is that of the official CLI."""
_PATH = f"{ROOM}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS = (
    "command -v uv >/dev/null || { echo 'Getting uv'; python3 -m venv /tmp/tools && "
    "/tmp/tools/bin/pip install -q --disable-pip-version-check uv && "
    "ln -s /tmp/tools/bin/uv /usr/local/bin/uv; }"
)
_VENV = "uv venv -q --python python3 .venv"
_INSTALL = "uv pip install --python .venv/bin/python"
_LOCAL_MARKS = ("-e", "--editable", ".", "/", "file:")
_ELSEWHERE = {
    "poetry.lock": "poetry export -o requirements.txt",
    "Pipfile": "pipenv requirements > requirements.txt",
    "pdm.lock": "pdm export -o requirements.txt",
    "environment.yml": "a requirements.txt of what it installs with pip",
}


def is_python(project: Project) -> bool:
    """Whether the official CLI takes it for a Python project."""
    if project.names & {"pyproject.toml", "requirements.txt"}:
        return True
    other = project.names & {"package.json", "go.mod"}
    return not other and bool(project.names & {*ENTRY_FILES, *_ELSEWHERE})


def python_plan(project: Project) -> Plan:
    """How it is built.

    Raises:
        BuildFailed: it cannot be, or nothing says how it starts.
    """
    command = _command(project)
    if "uv.lock" in project.names:
        return _locked(project, command)
    if "requirements.txt" in project.names:
        return _listed(project, command)
    _refuse_others(project)
    if "pyproject.toml" in project.names:
        return _declared(project, command)
    return _plan(command, None, ())


def _command(project: Project) -> tuple[str, ...]:
    wanted = wanted_command(project)
    if wanted is not None:
        return wanted
    found = next((name for name in ENTRY_FILES if name in project.names), None)
    if found is None:
        raise BuildFailed(
            "nothing says how this Python project starts: add to blaxel.toml\n[entrypoint]\n"
            f'prod = "your command"\nor one of the files {", ".join(ENTRY_FILES)}'
        )
    return ("python3", found)


def _locked(project: Project, command: tuple[str, ...]) -> Plan:
    """By uv's lock file. What it pins is fetched from the registries that are set up here."""
    settings = (project.toml("pyproject.toml").get("tool") or {}).get("uv") or {}
    install = (
        "uv export -q --frozen --no-dev --no-emit-project -o /tmp/requirements.txt",
        f"{_INSTALL} -r /tmp/requirements.txt",
    )
    local = "workspace" in settings or _has_local(project, "uv.lock")
    inputs = None if local else _some(project, "pyproject.toml", "uv.lock")
    return _plan(command, inputs, install, _own_package(project))


def _listed(project: Project, command: tuple[str, ...]) -> Plan:
    text = (project.read("requirements.txt") or b"").decode(errors="replace")
    lines = (line.strip() for line in text.splitlines())
    local = any(line.startswith(_LOCAL_MARKS) or "file:" in line for line in lines)
    names = [
        name
        for name in project.names
        if name.endswith(".txt") and name.startswith(("requirements", "constraints"))
    ]
    inputs = None if local else _some(project, *names)
    return _plan(command, inputs, (f"{_INSTALL} -r requirements.txt",))


def _declared(project: Project, command: tuple[str, ...]) -> Plan:
    declared = project.toml("pyproject.toml").get("project") or {}
    if not declared.get("dependencies") and "dependencies" not in declared.get("dynamic", []):
        return _plan(command, {}, (), _own_package(project))
    local = "dependencies" in declared.get("dynamic", [])
    inputs = None if local else _some(project, "pyproject.toml")
    install = (f"{_INSTALL} -r pyproject.toml",)
    return _plan(command, inputs, install, _own_package(project))


def _plan(
    command: tuple[str, ...],
    inputs: dict[str, bytes] | None,
    install: tuple[str, ...],
    prepare: tuple[str, ...] = (),
) -> Plan:
    makes = bool(install)
    return Plan(
        language="Python",
        base=BASE,
        inputs=inputs,
        install=(_TOOLS, _VENV, *install) if makes else (),
        kept=(".venv",),
        prepare=(_TOOLS, *(() if makes else (_VENV,)), *prepare) if prepare else (),
        command=command,
        environment={
            "PATH": _PATH,
            "VIRTUAL_ENV": f"{ROOM}/.venv",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "UV_COMPILE_BYTECODE": "1",
            "UV_LINK_MODE": "copy",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
        },
    )


def _own_package(project: Project) -> tuple[str, ...]:
    """Steps that install the project itself, where it says how it is packaged."""
    if "build-system" not in project.toml("pyproject.toml"):
        return ()
    return (f"{_INSTALL} --no-deps -e .",)


def _has_local(project: Project, name: str) -> bool:
    text = (project.read(name) or b"").decode(errors="replace")
    return any(mark in text for mark in ("{ directory =", "{ path =")) or text.count(
        "{ editable ="
    ) > ('editable = "."' in text)


def _some(project: Project, *names: str) -> dict[str, bytes]:
    found = {name: project.read(name) for name in sorted(names)}
    return {name: data for name, data in found.items() if data is not None}


def _refuse_others(project: Project) -> None:
    for name, fix in _ELSEWHERE.items():
        if name in project.names:
            raise BuildFailed(
                f"{name}: this kind of lock file is not understood; make a requirements.txt "
                f"({fix}), a uv.lock, or write a Dockerfile"
            )
