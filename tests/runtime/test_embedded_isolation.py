"""What untrusted code inside an embedded sandbox can and cannot do."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from conftest import MakePlan, directory_of
from sandbox_shell import output, shell

from serai.runtime import cgroups
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import SandboxHandle

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def handle(runtime: EmbeddedRuntime, plan: MakePlan) -> SandboxHandle:
    return await runtime.create(plan())


def _pid(handle: SandboxHandle) -> int:
    return int(json.loads(handle.state)["pid"])


async def test_only_its_own_processes_are_visible(handle: SandboxHandle) -> None:
    pids = (await output(handle, "ls /proc | grep -E '^[0-9]+$'")).split()
    assert "1" in pids
    assert len(pids) < 10
    assert (await shell(handle, f"kill -0 {_pid(handle)}"))[0] != 0


async def test_files_of_the_host_are_out_of_reach(
    handle: SandboxHandle, data_dir: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for path in (
        secret,
        data_dir,
        "/root/.ssh",
        "/etc/sudoers",
        "/var/lib/dpkg",
    ):
        assert (await shell(handle, f"ls {path}"))[0] != 0
    assert (
        await output(handle, "ls -A /root /home/user /run /sys /opt/python | grep -v :") == "lock"
    )
    assert await output(handle, "ls -A /usr/local/etc /usr/etc 2>/dev/null | grep -v :; true") == ""
    assert "serai" not in (await output(handle, "cat /proc/self/mountinfo")).replace("overlay", "")
    assert str(data_dir) not in await output(handle, "cat /proc/self/mountinfo /proc/1/mountinfo")
    assert await output(handle, "cat /proc/1/cmdline | tr '\\0' '|'") == "sandboxd|"
    assert await output(handle, "cat /proc/1/comm") == "sandboxd"
    assert (await shell(handle, "ls /proc/1/root/../../work"))[0] != 0


async def test_the_host_network_is_out_of_reach(handle: SandboxHandle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connect = (
            f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 2)'"
        )
        code, text = await shell(handle, connect)
        assert code != 0
        assert "refused" in text
    assert (await output(handle, "tail -n +3 /proc/net/dev | cut -d: -f1")).strip() == "lo"


async def test_siblings_do_not_meet(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    one, two = await asyncio.gather(runtime.create(plan()), runtime.create(plan()))
    await output(one, "echo mine > /tmp/file; echo mine > /dev/shm/file; echo x > /usr/file")
    assert (await shell(two, "cat /tmp/file"))[0] != 0
    assert (await shell(two, "cat /dev/shm/file"))[0] != 0
    assert (await shell(two, "cat /usr/file"))[0] != 0
    namespaces = "readlink /proc/self/ns/{} | tr -d '\\n';"
    names = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup")
    command = "".join(namespaces.format(name) for name in names)
    seen = [await output(each, command) for each in (one, two)]
    for name in names:
        host = Path(f"/proc/self/ns/{name}").readlink()
        assert all(str(host) not in text for text in seen)
    assert seen[0] != seen[1]


async def test_the_kernel_is_guarded(handle: SandboxHandle) -> None:
    refused = [
        "mount -t tmpfs none /mnt",
        "umount /usr",
        "unshare -U true",
        "unshare -m true",
        "mknod /tmp/disk b 254 0",
        "echo 1 > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "ls /proc/kcore && test -s /proc/kcore",
        "hostname other",
        "python3 -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'",
        "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        'python3 -c \'open("/proc/1/mem", "rb")\'',
        "cat /proc/1/environ",
        "nsenter -t 1 -m true",
    ]
    passed = [command for command in refused if (await shell(handle, command))[0] == 0]
    assert passed == []


async def test_privileges_are_gone(handle: SandboxHandle) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in (await output(handle, "cat /proc/self/status")).splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    admin = 1 << 21 | 1 << 12 | 1 << 19 | 1 << 24
    assert int(status["CapBnd"], 16) & admin == 0
    host_user = Path(f"/proc/{_pid(handle)}/status").read_text().split("Uid:\t")[1].split()[0]
    assert host_user != "0"


async def test_nothing_was_inherited(handle: SandboxHandle) -> None:
    await output(handle, "true")  # so that it serves, and setting it up is over
    links = Path(f"/proc/{_pid(handle)}/fd").iterdir()
    open_files = {link.name: str(link.readlink()) for link in links}
    extra = {n: f for n, f in open_files.items() if int(n) > 4 and not f.startswith("socket:")}
    assert extra.keys() == {"6", "7"}
    assert Path(f"/proc/{_pid(handle)}/fd/6/1/comm").read_text() == "sandboxd\n"
    trees = list(Path(f"/proc/{_pid(handle)}/fd/7").iterdir())
    assert all(tree.name.startswith("guest-") for tree in trees), "later versions of the API"
    assert len(open_files) <= 8
    assert await output(handle, "ls /proc/self/fd | wc -l") == "4"


async def test_root_inside_owns_the_system_and_tools_work(handle: SandboxHandle) -> None:
    assert await output(handle, "stat -c %u:%g / /usr /usr/bin/env /etc/passwd /blaxel") == (
        "\n".join(["0:0"] * 5)
    )
    await output(handle, "useradd --help >/dev/null; chown 1000:1000 /blaxel")
    assert await output(handle, "stat -c %U /blaxel") == "user"
    assert await output(handle, "python3 -c 'print(6*7)'") == "42"
    assert await output(handle, "getent hosts localhost | wc -l; tty >/dev/null; echo $?") == "1\n1"
    await output(handle, "script -qc true /dev/null >/dev/null")


async def test_certificates_are_there(handle: SandboxHandle) -> None:
    script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 0)"
    expected = "True" if Path("/etc/ssl/certs/ca-certificates.crt").exists() else "False"
    assert await output(handle, f"python3 -c '{script}'") == expected


async def test_memory_is_limited(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    handle = await runtime.create(plan(memory_mb=96))
    code, _ = await shell(handle, "python3 -c 'x = bytearray(300 << 20)'")
    assert code != 0
    assert await runtime.alive(handle)
    assert await output(handle, "echo alive") == "alive"


async def test_a_fork_bomb_is_bounded(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    handle = await runtime.create(plan())
    groups = [Path(group) for group in json.loads(handle.state)["cgroups"]]
    if not any((group / "pids.max").exists() for group in groups):
        pytest.skip("no pids controller on this host")
    bomb = "bash -c 'b() { b | b & }; b' >/dev/null 2>&1 &"
    await shell(handle, bomb)
    counter = next(group / "pids.current" for group in groups if (group / "pids.max").exists())
    peak = 0
    for _ in range(20):
        peak = max(peak, int(counter.read_text()))
        await asyncio.sleep(0.02)
    assert 2 <= peak <= 80
    await runtime.destroy(handle.id, handle)
    assert not counter.exists()


async def test_cpu_is_limited(runtime: EmbeddedRuntime, plan: MakePlan) -> None:
    handle = await runtime.create(plan(memory_mb=1024))
    groups = [Path(group) for group in json.loads(handle.state)["cgroups"]]
    files = {f.name: f.read_text().split() for g in groups for f in g.glob("cpu.*") if f.is_file()}
    if "cpu.max" in files:
        assert files["cpu.max"] == ["50000", "100000"]
    elif "cpu.cfs_quota_us" in files:
        assert files["cpu.cfs_quota_us"] == ["50000"]
    else:
        pytest.skip("no cpu controller on this host")


async def test_limits_are_what_isolation_says(runtime: EmbeddedRuntime) -> None:
    hierarchies = cgroups.discover("serai-probe")
    cgroups.forget(hierarchies)
    found = {name for each in hierarchies for name in each.controllers}
    for controller in ("memory", "cpu", "pids"):
        promised = f"no cgroup limit for {controller}" not in runtime.isolation
        assert (controller in found) <= promised


async def test_a_planted_link_cannot_lead_a_mount_astray(
    runtime: EmbeddedRuntime, plan: MakePlan, data_dir: Path, tmp_path: Path
) -> None:
    wanted = plan()
    handle = await runtime.create(wanted)
    await output(handle, "rm /etc/hosts /var/log/sandboxd.log; ln -s /blaxel/aim /etc/hosts")
    await output(handle, "ln -s /blaxel/aim /var/log/sandboxd.log")
    await runtime.stop(handle)
    upper = directory_of(data_dir, handle.id) / "layers/root/upper"
    (upper / "blaxel").mkdir(exist_ok=True)
    (upper / "proc").symlink_to(tmp_path)
    with pytest.raises(Exception, match="/proc of this sandbox is no directory"):
        await runtime.create(wanted)
    (upper / "proc").unlink()
    handle = await runtime.create(wanted)
    assert (await shell(handle, "test -e /blaxel/aim"))[0] != 0
