"""What a hostile build leaves in its cache: things that overlays, archives and walks stumble over."""

from __future__ import annotations

CACHE = "/cache/left"


def leavings(links: int, *, plain: bool = False) -> str:
    """Bash that leaves it, with so many links. What the sandbox refuses is left out: an attacker takes the rest.

    A ``plain`` cache has no hard links and no locked folders, so that trees of its snapshot can be moved into the app.
    """
    odd = (
        "true"
        if plain
        else "ln kept/one kept/linked; mkdir locked; echo secret >locked/file; chmod 0 locked/file locked"
    )
    return f"""
(
set +e
mkdir -p {CACHE}/kept/deep {CACHE}/hidden && cd {CACHE} || exit 1
echo one >kept/one; echo two >kept/deep/two; {odd}
mkdir -p kept/tree-of/tree/deep; echo moved >kept/tree-of/tree/deep/file; printf key >kept/tree-of/key
mknod kept/tree-of/tree/hidden c 0 0; ln -s /etc/shadow kept/tree-of/tree/link; ln -s / kept/tree-of/parts
echo real >hidden/real; echo real >.wh.kept; echo >kept/.wh..wh..opq
rm -f hidden/gone kept/whiteout; mknod null c 1 3; mknod disk b 7 0; mknod hidden/gone c 0 0; mknod kept/whiteout c 0 0
mkfifo kept/pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("kept/socket")'
python3 - <<'EOF'
import os
for space in ("trusted.overlay", "user.overlay", "security", "user"):
    for name, value in (("opaque", b"y"), ("redirect", b"/etc"), ("metacopy", b""), ("origin", b"x"),
                        ("whiteout", b"y"), ("nlink", b"U+1"), ("capability", b"\\1" * 20)):
        for path in ("kept", "hidden", "kept/one", "kept/deep"):
            try:
                os.setxattr(path, f"{{space}}.{{name}}", value)
            except OSError:
                pass
EOF
cp /bin/bash suid; chmod 6755 suid; mkdir -m 2777 setgid
echo newline >$'a\\nname\\n'; echo odd >$'\\377\\033]0;x\\007 -rf'
mkdir -p farm; python3 - <<'EOF'
import os
aims = ("/", "..", "/etc/shadow", "/proc/self/root", "0", "farm", "../kept/one", "/cache/left/locked", "x" * 1000)
for number in range({links}):
    if not os.path.lexists(f"farm/{{number}}"):
        os.symlink(aims[number % len(aims)], f"farm/{{number}}")
EOF
true
)
"""
