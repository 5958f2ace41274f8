"""Node.js projects: what to install, what to build, and how they start."""

import re
from typing import Any

import msgspec

from serai.build.failures import BuildFailed
from serai.build.plans import ROOM, Plan, as_command, wanted_command
from serai.build.sources import Project

BASE = "blaxel/node:latest"
ENTRY_FILES = tuple(
    f"{folder}{name}.js"
    for folder in ("", "src/", "dist/", "build/")
    for name in ("index", "app", "server")
)
"""Where a project starts that does not say it; the order is that of the official CLI."""
_PATH = f"{ROOM}/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOCKS = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
}
_OTHERS = ("bun.lock", "bun.lockb", "deno.lock")
_SETTINGS = frozenset(
    {".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pnpm-workspace.yaml", ".npmignore"}
)
_LIFE = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare")
"""Scripts of the project itself, which may need files that are not there in the first stage."""
_VERSION = re.compile(r"(npm|pnpm|yarn)@([0-9]+(?:\.[0-9A-Za-z.-]+)?)")


def is_node(project: Project) -> bool:
    """Whether the official CLI takes it for a TypeScript or JavaScript project."""
    return "package.json" in project.names


def node_plan(project: Project) -> Plan:
    """How it is built.

    Raises:
        BuildFailed: it cannot be, or nothing says how it starts.
    """
    package = project.json("package.json")
    scripts = _scripts(package)
    manager = _manager(project)
    has_build = "build" in scripts
    get = _getting(project, package, manager)
    has_packages = any(
        package.get(field)
        for field in ("dependencies", "devDependencies", "optionalDependencies", "workspaces")
    )
    after = [script for script in ("postinstall", "prepare") if script in scripts]
    prepare = [f"{manager} run {script}" for script in (*after, *(["build"] if has_build else []))]
    if after and not has_build:
        # Hooks of a developer's machine: what they need may be left out here.
        prepare = [f"{step} || echo 'It failed, and was not needed to go on'" for step in prepare]
    return Plan(
        language="Node.js",
        base=BASE,
        inputs=_inputs(project, package),
        install=(*get, *_install(project, manager, dev=has_build)) if has_packages else (),
        kept=("node_modules",),
        prepare=(*get, *prepare) if prepare else (),
        command=_command(project, package),
        environment={
            "PATH": _PATH,
            "NODE_ENV": "production",
            "npm_config_update_notifier": "false",
            "npm_config_fund": "false",
            "npm_config_audit": "false",
            "YARN_NODE_LINKER": "node-modules",
            "YARN_ENABLE_TELEMETRY": "0",
            "YARN_ENABLE_GLOBAL_CACHE": "false",
            "YARN_CACHE_FOLDER": "/tmp/yarn-cache",  # noqa: S108
            "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
        },
    )


def _scripts(package: dict[str, Any]) -> dict[str, str]:
    found = package.get("scripts") or {}
    if not isinstance(found, dict):
        raise BuildFailed("package.json: scripts is no object")
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _manager(project: Project) -> str:
    found = next((_LOCKS[name] for name in _LOCKS if name in project.names), None)
    if found is None:
        for name in _OTHERS:
            if name in project.names:
                raise BuildFailed(
                    f"{name}: this kind of lock file is not understood; add a package-lock.json "
                    "(npm install --package-lock-only), or write a Dockerfile"
                )
    return found or "npm"


def _getting(project: Project, package: dict[str, Any], manager: str) -> tuple[str, ...]:
    """Steps that bring the package manager, in the version that the project names."""
    if manager == "npm":
        return ()
    name, version = manager, {"pnpm": _pnpm(project), "yarn": "1"}[manager]
    if manager == "yarn" and _is_berry(project):
        name, version = "@yarnpkg/cli-dist", "4"
    wanted = _VERSION.match(str(package.get("packageManager") or ""))
    if wanted is not None and wanted[1] == manager:
        version = wanted[2]
        name = "@yarnpkg/cli-dist" if manager == "yarn" and version[0] != "1" else manager
    quiet = "--no-audit --no-fund --loglevel=error"
    return (f"npm install -g {quiet} --prefix /usr/local {name}@{version}",)


def _pnpm(project: Project) -> str:
    head = (project.read("pnpm-lock.yaml") or b"")[:200].decode(errors="replace")
    return "8" if re.search(r"lockfileVersion:\s*'?6", head) else "10"


def _is_berry(project: Project) -> bool:
    lock = (project.read("yarn.lock") or b"")[:400]
    return ".yarnrc.yml" in project.names or b"__metadata:" in lock


def _install(project: Project, manager: str, *, dev: bool) -> tuple[str, ...]:
    """The step that installs what the lock file says; all of it where something is built."""
    if manager == "pnpm":
        flags = "" if dev else " --prod"
        store = "--store-dir /tmp/pnpm-store --package-import-method copy"
        return (
            f"CI=true pnpm install --frozen-lockfile{' --prod=false' if dev else flags} {store}",
        )
    if manager == "yarn" and _is_berry(project):
        return ("yarn install --immutable",)
    if manager == "yarn":
        wanted = "--production=false" if dev else "--production=true"
        return (f"yarn install --frozen-lockfile --non-interactive {wanted}",)
    wanted = "--include=dev" if dev else "--omit=dev"
    if {"package-lock.json", "npm-shrinkwrap.json"} & project.names:
        return (f"npm ci {wanted}",)
    return (
        "echo 'There is no lock file: versions are chosen now, and may differ next time'",
        f"npm install --no-package-lock {wanted}",
    )


def _inputs(project: Project, package: dict[str, Any]) -> dict[str, bytes] | None:
    """What decides what is installed; None for all where packages refer to files of the project."""
    if "workspaces" in package or "pnpm-workspace.yaml" in project.names or _has_local(package):
        return None
    names = {name for name in (*_LOCKS, *_SETTINGS) if name in project.names}
    names |= {name for name in project.names if name.startswith((".yarn/", "patches/"))}
    found = {name: project.read(name) or b"" for name in sorted(names)}
    scripts = {k: v for k, v in _scripts(package).items() if k not in _LIFE and k != "build"}
    kept = {key: package[key] for key in sorted(package) if key not in {"scripts", "version"}}
    described = kept | {"scripts": dict.fromkeys(scripts, "true")}
    found["package.json"] = msgspec.json.encode(described)
    return found


def _has_local(package: dict[str, Any]) -> bool:
    fields = ("dependencies", "devDependencies", "optionalDependencies")
    versions = [v for field in fields for v in (package.get(field) or {}).values()]
    return any(
        str(each).startswith(("file:", "link:", "portal:", "./", "../")) for each in versions
    )


def _command(project: Project, package: dict[str, Any]) -> tuple[str, ...]:
    wanted = wanted_command(project)
    if wanted is not None:
        return wanted
    scripts = _scripts(package)
    if "start" in scripts:
        if {"prestart", "poststart"} & set(scripts) or not scripts["start"].strip():
            return ("npm", "run", "start")
        return as_command(scripts["start"])
    found = next((name for name in ENTRY_FILES if name in project.names), None)
    main = str(package.get("main") or "").removeprefix("./")
    if found is None and main and (main in project.names or "build" in scripts):
        found = main
    if found is None:
        raise BuildFailed(
            "nothing says how this project starts: add a start script to package.json, or to "
            'blaxel.toml\n[entrypoint]\nprod = "your command"\nor one of the files '
            f"{', '.join(ENTRY_FILES[:6])}"
        )
    return ("node", found)
