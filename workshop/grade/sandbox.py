"""The room a submission runs in: `python -I -S sandbox.py '{"uid": …}' -- COMMAND …` (Linux; standard library only).

A new root is built from an allow-list: the interpreter, the system's libraries, the course's package, data and models, all
read-only; one writable folder; a private /tmp. The rest of the disk, the answer keys, other submissions and the network are
not forbidden there: they do not exist. The method is that of bubblewrap: namespaces(7), mount(2), pivot_root(2).

Settings (JSON): namespaces (bool), uid (int or null), root (an empty folder to build in), read_only (paths), writable (path),
covered ({file: text shown in its place}), memory, file_size (bytes), processes (count).
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
UMOUNT_DETACH, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, SIOCSIFFLAGS, IFF_UP = 2, 38, 1, 0x8914, 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *args):
    if function(*args) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function.__name__)


def mount(source, target, kind=None, flags=0, data=None):
    texts = [text and text.encode() for text in (source, target, kind)]
    call(libc.mount, *texts, ctypes.c_ulong(flags), data and data.encode())


def bind(path, root, writable=False):
    """Show `path` at the same place under `root`; a symbolic link stays one."""
    target = root + path
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, mode=0o755, exist_ok=True)
    else:
        open(target, "w").close()
    mount(path, target, None, BIND | REC)
    if not writable:
        kept = os.statvfs(path).f_flag & (NOSUID | NODEV | NOEXEC)  # a user namespace may not drop these
        mount(None, target, None, BIND | REMOUNT | RDONLY | NOSUID | kept)


def build_root(settings):
    root = settings["root"]
    mount(None, "/", None, REC | PRIVATE)
    mount("afina", root, "tmpfs", NOSUID | NODEV, "size=16m,mode=755")
    for path in sorted(set(settings["read_only"])):
        if os.path.lexists(path) and not os.path.lexists(root + path):
            bind(path, root)
    os.makedirs(root + "/run/afina-covers", mode=0o755)
    for number, (path, text) in enumerate(settings["covered"].items()):
        cover = f"{root}/run/afina-covers/{number}"
        with open(cover, "w", encoding="utf-8") as file:
            file.write(text)
        mount(cover, root + path, None, BIND)
        compiled = os.path.join(root + os.path.dirname(path), "__pycache__")
        if os.path.isdir(compiled):
            mount("afina", compiled, "tmpfs", NOSUID | NODEV | RDONLY, "size=1m")
    os.makedirs(root + "/proc")
    mount("proc", root + "/proc", "proc", NOSUID | NODEV | NOEXEC)
    for device in ("null", "zero", "full", "random", "urandom"):
        bind(f"/dev/{device}", root, writable=True)
    for place, size in (("/dev/shm", "512m"), ("/tmp", "512m")):
        os.makedirs(root + place, exist_ok=True)
        mount("afina", root + place, "tmpfs", NOSUID | NODEV, f"size={size},mode=1777")
    bind(settings["writable"], root, writable=True)
    os.mkdir(root + "/old")
    os.chdir(root)
    call(libc.syscall, SYS_PIVOT_ROOT[os.uname().machine], root.encode(), (root + "/old").encode())
    os.chdir("/")
    call(libc.umount2, b"/old", UMOUNT_DETACH)
    mount(None, "/", None, BIND | REMOUNT | RDONLY | NOSUID | NODEV)


def enter_namespaces(settings):
    """Returns in the first process of new namespaces; the outer process waits for it here and ends with it."""
    uid, gid, parent = os.getuid(), os.getgid(), os.getppid()
    own = settings["uid"] is None  # nobody to become: a user namespace gives the rights to build the room
    call(libc.unshare, NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET | (NEWUSER if own else 0))
    if own:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid or NOBODY} {uid} 1"),
            ("gid_map", f"{gid or NOBODY} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if not child:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is meant for the kernel inside
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, 1)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended or os.getppid() != parent:  # the grader is gone: so is the room, when its first process is
            if not ended:
                os.kill(child, signal.SIGKILL)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main():
    settings, command = json.loads(sys.argv[1]), sys.argv[3:]
    folder = os.getcwd()
    if settings["namespaces"]:
        enter_namespaces(settings)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
        build_root(settings)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, settings["memory"]),
        (resource.RLIMIT_FSIZE, settings["file_size"]),
        (resource.RLIMIT_NPROC, settings["processes"]),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if settings["uid"] is not None:
        os.setgroups([])
        os.setgid(settings["uid"])
        os.setuid(settings["uid"])
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if settings["namespaces"]:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # becoming another user took the first one back
    os.chdir(folder)
    os.execve(command[0], command, os.environ)


if __name__ == "__main__":
    main()
