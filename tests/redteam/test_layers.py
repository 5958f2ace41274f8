"""Marks that root inside forges for the overlays that snapshots and forks are stacked with."""

from .attacker import Attacker

LOOK = (
    "cd /blaxel/marks && find . -printf '%P %y %m %U %n %l\\n' | sort; cat file folder/again; "
    "ls /etc /usr/bin | sha256sum; getfattr -Rdm- . 2>/dev/null | grep -c redirect; "
    "cat up out/etc/shadow 2>&1 | head -2"
)


def other(evil: Attacker, name: str) -> Attacker:
    """Another sandbox, by its name."""
    found = Attacker.__new__(Attacker)
    found.api, found.name, found.base = evil.api, name, f"/main/sandboxes/{name}"
    return found


def test_forged_marks_mean_nothing_in_copies(evil: Attacker) -> None:
    """A copy has what the original shows: nothing more from below, nothing of others."""
    done = evil.attack("marks.py")
    assert not [what for what in done if what.startswith(("trusted", "disk", "memory"))], done
    seen = evil.run(LOOK)["stdout"]
    assert "root:" in seen  # what links that climb lead to is the sandbox's own
    snapshot = evil.api.post(f"/v0/sandboxes/{evil.name}/snapshots", json={"name": evil.name})
    assert snapshot.status_code == 200, snapshot.text
    names = [f"{evil.name}-{kind}" for kind in ("now", "saved", "again")]
    try:
        paths = (
            f"sandboxes/{evil.name}",
            f"snapshots/{snapshot.json()['id']}",
            f"sandboxes/{names[1]}",
        )
        for path, name in zip(paths, names, strict=True):
            target = {"targetName": name, "targetType": "sandbox"}
            made = evil.api.post(f"/v0/{path}/fork", json=target)
            assert made.status_code == 200, made.text
            assert other(evil, name).run(LOOK)["stdout"] == seen, path
        assert evil.api.delete(f"/v0/snapshots/{snapshot.json()['id']}").status_code == 204
        for name in names[1:]:
            assert other(evil, name).run(LOOK)["stdout"] == seen
    finally:
        for name in names:
            evil.api.delete(f"/v0/sandboxes/{name}")
    assert evil.is_well()
