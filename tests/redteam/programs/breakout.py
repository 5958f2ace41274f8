"""Tries every way out that the kernel has a call for; prints what worked, as JSON.

With ``--spare`` process 1 gets no signals: where they end it, which ends the sandbox.

A way is a function that raises OSError when it is refused. Numbers of system calls are those of
x86-64 and arm64; a way that one of them lacks is left out there.
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
WAYS = {}


def way(function):
    WAYS[function.__name__] = function
    return function


def call(numbers, *arguments):
    number = numbers[ARM]
    if number is None:
        raise OSError(errno.ENOSYS, "not on this machine")
    result = libc.syscall(
        number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def write(path, text):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def read(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


# -- process 1
spare = "--spare" in sys.argv
for number in () if spare else range(1, 65):
    if number not in (32, 33):
        try:
            os.kill(1, number)
        except OSError:
            pass
for thread in () if spare else os.listdir("/proc/1/task"):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT):
        try:
            call((234, 131), 1, int(thread), number)
        except OSError:
            pass


@way
def ptrace_attach():
    if libc.ptrace(16, 1, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")


@way
def ptrace_seize():
    if libc.ptrace(0x4206, 1, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")


@way
def memory_of_1():
    os.close(os.open("/proc/1/mem", os.O_RDONLY))


@way
def process_vm_readv():
    buffer = ctypes.create_string_buffer(16)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 16)
    remote = (ctypes.c_ulong * 2)(0x400000, 16)
    call((310, 270), 1, local, 1, remote, 1, 0)


@way
def process_vm_writev():
    buffer = ctypes.create_string_buffer(16)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 16)
    remote = (ctypes.c_ulong * 2)(0x400000, 16)
    call((311, 271), 1, local, 1, remote, 1, 0)


def of_process_1(name):
    def look():
        assert read(f"/proc/1/{name}") is not None

    look.__name__ = f"{name}_of_1"
    way(look)


for each in ("environ", "maps", "smaps", "auxv", "pagemap", "syscall", "stack", "fdinfo/3"):
    of_process_1(each)


@way
def descriptors_of_1():
    os.listdir("/proc/1/fd")


@way
def socket_of_1():
    descriptor = call((434, 434), 1, 0)
    call((438, 438), descriptor, 3, 0)


@way
def root_of_1():
    os.listdir("/proc/1/root/")


@way
def directory_of_1():
    os.listdir("/proc/1/cwd/")


@way
def limits_of_1():
    resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))


@way
def processor_time_of_1():
    resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))


@way
def address_space_of_a_thread_of_1():
    thread = max(int(each) for each in os.listdir("/proc/1/task"))
    resource.prlimit(thread, resource.RLIMIT_AS, (1, 1))


@way
def score_of_1():
    write("/proc/1/oom_score_adj", b"1000")


@way
def own_score():
    write("/proc/self/oom_score_adj", b"0")


@way
def own_old_score():
    write("/proc/self/oom_adj", b"0")


@way
def advice_about_1():
    descriptor = call((434, 434), 1, 0)
    vector = (ctypes.c_ulong * 2)(0x400000, 4096)
    call((440, 440), descriptor, vector, 1, 21, 0)


@way
def compare_with_1():
    if call((312, 272), os.getpid(), 1, 0, 0, 0) is None:
        raise OSError


@way
def real_time_for_1():
    os.sched_setscheduler(1, os.SCHED_FIFO, os.sched_param(50))


# -- more rights
@way
def real_time():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))


@way
def priority():
    os.setpriority(os.PRIO_PROCESS, 0, -20)


@way
def idle_priority_of_io():
    call((251, 30), 1, 0, 1 << 13)


@way
def more_open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))


@way
def core_files():
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))


@way
def capabilities():
    header = struct.pack("=Ii", 0x20080522, 0)
    if libc.capset(header, struct.pack("=6I", *[0xFFFFFFFF] * 6)) < 0:
        raise OSError(ctypes.get_errno(), "")


for name, flags in {
    "user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000,
    "ipc": 0x8000000, "uts": 0x4000000, "cgroup": 0x2000000, "time": 0x80,
}.items():  # fmt: skip

    def unshare(flags=flags):
        call((272, 97), flags)

    unshare.__name__ = f"unshare_{name}"
    way(unshare)


@way
def clone_into_a_user_namespace():
    child = call((56, 220), 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)


@way
def clone3_into_a_user_namespace():
    arguments = struct.pack("=8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    child = call((435, 435), arguments, len(arguments))
    if child == 0:
        os._exit(0)


for each in ("mnt", "net", "pid", "user", "cgroup"):

    def enter(name=each):
        descriptor = os.open(f"/proc/1/ns/{name}", os.O_RDONLY)
        call((308, 268), descriptor, 0)

    enter.__name__ = f"enter_{each}"
    way(enter)


@way
def enter_by_process():
    call((308, 268), call((434, 434), 1, 0), 0x20000)


# -- file systems
for kind in (
    "tmpfs",
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devtmpfs",
    "debugfs",
    "overlay",
    "bpf",
):

    def mount(kind=kind):
        call((165, 40), b"none", b"/mnt", kind.encode(), 0, None)

    mount.__name__ = f"mount_{kind}"
    way(mount)


@way
def mount_again_writable():
    call((165, 40), b"none", b"/proc/sys", None, 32 | 4096, None)


@way
def unmount():
    call((166, 39), b"/proc/sys", 2)


@way
def new_mount_calls():
    call((430, 430), b"tmpfs", 0)


@way
def clone_a_mount():
    call((428, 428), -100, b"/", 1)


@way
def mount_attributes():
    call((442, 442), -100, b"/proc/sys", 0, struct.pack("=4Q", 0, 1, 0, 0), 32)


@way
def pivot_root():
    call((155, 41), b"/tmp", b"/tmp")


@way
def by_handle():
    handle = struct.pack("=Ii8s", 8, 1, struct.pack("=II", 2, 0))
    call((304, 265), os.open("/", os.O_RDONLY), handle, 0)


@way
def chroot_and_climb():
    os.makedirs("/tmp/cell", exist_ok=True)
    top = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/cell")
    try:
        os.fchdir(top)
        for _ in range(100):
            os.chdir("..")
        os.chroot(".")
        if not os.path.exists("/tmp/breakout.py"):
            return  # somewhere else than at the root of the sandbox
    finally:
        os.fchdir(top)
        os.chroot(".")
    raise OSError("still inside")


# -- devices
for name, mode, major, minor in (
    ("disk", 0o60600, 254, 0), ("disk_8", 0o60600, 8, 0), ("loop", 0o60600, 7, 0),
    ("memory", 0o20600, 1, 1), ("kernel_log", 0o20600, 1, 11), ("kvm", 0o20600, 10, 232),
    ("fuse", 0o20600, 10, 229), ("tun", 0o20600, 10, 200), ("null_of_our_own", 0o20600, 1, 3),
):  # fmt: skip

    def node(name=name, mode=mode, major=major, minor=minor):
        os.mknod(f"/tmp/node-{name}", mode, os.makedev(major, minor))

    node.__name__ = f"node_{name}"
    way(node)

for path in (
    "/dev/kvm", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/sda", "/dev/vda",
    "/dev/nvme0n1", "/dev/loop-control", "/dev/fuse", "/dev/net/tun", "/dev/vhost-vsock",
    "/dev/console", "/dev/tty1", "/dev/userfaultfd", "/dev/cpu/0/msr", "/dev/hwrng",
    "/proc/kcore", "/proc/kmsg", "/proc/kpageflags", "/proc/vmallocinfo", "/proc/slabinfo",
    "/sys/kernel", "/sys/fs/cgroup", "/sys/firmware", "/proc/acpi/event", "/proc/scsi/scsi",
    "/proc/sysvipc/../kcore",
):  # fmt: skip

    def look(path=path):
        if not read(path):
            raise OSError(errno.ENODATA, "hidden")

    look.__name__ = f"read {path}"
    way(look)

for path in (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom",
    "/proc/sys/fs/binfmt_misc/register", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/net/ipv4/ip_forward",
    "/proc/irq/default_smp_affinity",
    "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/proc/1/attr/current",
    "/proc/1/comm", "/proc/1/clear_refs", "/proc/1/loginuid", "/proc/self/loginuid",
):  # fmt: skip

    def change(path=path):
        write(path, b"1")

    change.__name__ = f"write {path}"
    way(change)


# -- the kernel
@way
def kernel_log():
    buffer = ctypes.create_string_buffer(4096)
    call((103, 116), 3, buffer, 4096)


@way
def bpf():
    call((321, 280), 0, struct.pack("=IIII", 2, 4, 8, 1) + bytes(112), 128)


@way
def perf_event_open():
    call((298, 241), struct.pack("=IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0)


@way
def userfaultfd():
    call((323, 282), 1)


@way
def io_uring():
    call((425, 425), 8, bytes(120))


@way
def old_asynchronous_io():
    call((206, 0), 8, ctypes.byref(ctypes.c_ulong()))


@way
def keyring():
    call((250, 219), 0, -3, 1)


@way
def add_key():
    call((248, 217), b"user", b"evil", b"payload", 7, -3)


@way
def request_key():
    call((249, 218), b"user", b"evil", None, -3)


@way
def fanotify():
    call((300, 262), 0, 0)


@way
def kexec():
    call((246, 104), 0, 0, 0, 0)


@way
def load_module():
    call((313, 273), os.open("/etc/passwd", os.O_RDONLY), b"", 0)


@way
def restart():
    call((169, 142), 0xFEE1DEAD, 672274793, 0, 0)


@way
def swap_off():
    call((168, 225), b"/swapfile")


@way
def accounting():
    call((163, 89), b"/tmp/breakout.py")


@way
def quota():
    call((179, 60), 0x800001, b"/dev/vda", 0, 0)


@way
def set_clock():
    call((227, 112), 0, struct.pack("=qq", 1_000_000_000, 0))


@way
def set_time_of_day():
    call((164, 170), struct.pack("=qq", 1_000_000_000, 0), None)


@way
def adjust_clock():
    call((159, 171), struct.pack("=I", 0x4000) + bytes(252))


@way
def alarm_that_wakes_the_machine():
    call((283, 85), 8, 0)


@way
def io_ports():
    call((172, None), 3)


@way
def call_of_the_future():
    call((600, 600))


@way
def host_name():
    socket.sethostname("evil")


@way
def type_for_others():
    _, slave = os.openpty()
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)
        try:
            fcntl.ioctl(slave, 0x5412, b"x")
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError(errno.EPERM, "")


def reaches_the_kernel(numbers, *arguments):
    """A call that would fail anyway: passed when the kernel, and no filter, said so."""
    try:
        call(numbers, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT):
            raise


for name, numbers, arguments in (
    ("type_for_others_in_64_bits", (16, 29), (-1, 1 << 32 | 0x5412, 0)),
    ("paste_in_64_bits", (16, 29), (-1, 1 << 32 | 0x541C, 0)),
    ("subvolume", (16, 29), (-1, 0x5000940E, 0)),
    ("subvolume_in_64_bits", (16, 29), (-1, 1 << 32 | 0x5000940E, 0)),
    ("vsock_in_64_bits", (41, 198), (1 << 32 | 40, 1, 0)),
    ("vsock_pair_in_64_bits", (53, 199), (1 << 32 | 40, 1, 0, 0)),
    ("namespace_in_64_bits", (272, 97), (1 << 32 | 0x10000000,)),
    ("clone3", (435, 435), (0, 0)),
    ("submit_old_asynchronous_io", (209, 2), (0, 1, 0)),
    ("secret_memory", (447, 447), (1,)),
    ("pages_of_others", (279, 239), (1, 0, 0, 0, 0, 0)),
    ("segments_of_16_bits", (154, None), (0, 0, 0)),
    ("reap_memory", (448, 448), (-1, 0)),
    ("mount_by_number", (457, 457), (0, 0, 0, 0)),
    ("list_of_mounts", (458, 458), (0, 0, 0, 0)),
    ("list_of_security_modules", (461, 461), (0, 0, 0)),
    ("list_of_namespaces", (470, 470), (0, 0, 0, 0)),
    ("mark_for_fanotify", (301, 263), (-1, 1, 1, -100, 0)),
):

    def reach(numbers=numbers, arguments=arguments):
        reaches_the_kernel(numbers, *arguments)

    reach.__name__ = name
    way(reach)


@way
def calls_of_32_bits():
    if ARM:
        raise OSError
    import mmap

    code = bytes.fromhex("53 b814000000 cd80 5b c3".replace(" ", ""))  # getpid of the 32-bit table
    child = os.fork()
    if child == 0:
        memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        memory.write(code)
        place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        ctypes.CFUNCTYPE(ctypes.c_int)(place)()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError(errno.EPERM, "")


# -- sockets
for name, arguments in {
    "packet": (17, socket.SOCK_RAW, 0), "packet_cooked": (17, socket.SOCK_DGRAM, 0),
    "vsock": (40, socket.SOCK_STREAM, 0), "bluetooth": (31, socket.SOCK_RAW, 0),
    "crypto": (38, socket.SOCK_SEQPACKET, 0), "can": (29, socket.SOCK_RAW, 1),
    "raw_4": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "raw_4_any": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    "raw_6": (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    "key": (15, socket.SOCK_RAW, 2), "xdp": (44, socket.SOCK_RAW, 0), "smc": (43, 1, 0),
}.items():  # fmt: skip

    def open_socket(arguments=arguments):
        socket.socket(*arguments).close()

    open_socket.__name__ = f"socket_{name}"
    way(open_socket)


@way
def foreign_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT


@way
def firewall_mark():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, 36, 1)


@way
def another_interface():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        name = b"evil0\0\0\0"
        kind = struct.pack("=HH", 10, 1) + b"dummy\0\0\0"[:6] + b"\0\0"
        attributes = struct.pack("=HH", 4 + 6, 3) + name[:6] + b"\0\0"
        attributes += struct.pack("=HH", 4 + len(kind), 18) + kind
        body = struct.pack("=BxHiII", 0, 0, 0, 1, 1) + attributes
        route.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        answer = route.recv(4096)
        (code,) = struct.unpack_from("=i", answer, 16)
        if code:
            raise OSError(-code, "")


passed, refused = [], {}
for name, attempt in WAYS.items():
    try:
        attempt()
    except (OSError, ValueError) as error:
        refused[name] = errno.errorcode.get(getattr(error, "errno", None) or 0, "refused")
    else:
        passed.append(name)
sys.stdout.write("\n" + json.dumps({"passed": passed, "refused": refused}) + "\n")
