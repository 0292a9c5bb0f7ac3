"""What is given up stays given up. Each case runs in a process of its own, as root."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import usb_cameras

pytestmark = pytest.mark.root

# Where a program includes them from, and the architecture that each describes.
KERNEL_HEADERS = (
    (Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h"), 0),
    (Path("/usr/include/asm-generic/unistd.h"), 1),
)
LAST_SYSTEM_CALL = 467  # of Linux 6.18


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_root_cannot_be_had_again() -> None:
    ended = run("""
        import os, pwd
        from pam_faceid.adapters import sandbox
        sandbox.drop_to("faceid")
        assert os.getresuid() == (pwd.getpwnam("faceid").pw_uid,) * 3
        assert 0 not in os.getgroups()
        for regain in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1), lambda: os.setgid(0),
                       lambda: os.setgroups([0])):
            try:
                regain()
            except PermissionError:
                continue
            raise SystemExit("regained")
        status = open("/proc/self/status").read()
        for line in ("NoNewPrivs:\\t1", "CapEff:\\t0000000000000000", "CapPrm:\\t0000000000000000"):
            assert line in status, status
    """)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_nothing_is_dumped() -> None:
    ended = run("""
        import ctypes, os, resource
        from pam_faceid.adapters import sandbox
        sandbox.drop_to("faceid")
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        PR_GET_DUMPABLE = 3
        assert ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
    """)
    assert ended.returncode == 0, ended.stderr


def test_another_process_of_the_same_user_cannot_read_its_memory() -> None:
    ended = run("""
        import os, signal, pwd
        from pam_faceid.adapters import sandbox
        ready, tell = os.pipe()
        victim = os.fork()
        if victim == 0:
            sandbox.drop_to("faceid")
            os.write(tell, b".")
            signal.pause()
        os.read(ready, 1)
        try:
            sandbox.drop_to("faceid")
            open(f"/proc/{victim}/mem", "rb").read(1)
        except PermissionError as error:
            print("refused", error)
        finally:
            os.kill(victim, signal.SIGKILL)
    """)
    assert ended.stdout.startswith("refused"), ended.stdout + ended.stderr


@pytest.mark.parametrize("user", ["root", "no-such-user-here"])
def test_an_account_that_will_not_do_is_refused(user: str) -> None:
    ended = run(f"""
        from pam_faceid.adapters import sandbox
        from pam_faceid.core.errors import PrivilegeError
        try:
            sandbox.drop_to({user!r})
        except PrivilegeError as error:
            print("refused", error)
    """)
    assert ended.stdout.startswith("refused"), ended.stderr


def test_a_child_dies_with_its_parent() -> None:
    """Also after it changed its user, which makes the kernel forget the wish."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import os, signal
                from pam_faceid.adapters import sandbox
                parent = os.getpid()
                child = os.fork()
                if child == 0:
                    sandbox.drop_to("faceid")
                    sandbox.die_with_parent(parent)
                    print(os.getpid(), flush=True)
                    signal.pause()
                signal.pause()
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().strip())
    assert child.exists()
    parent.kill()
    parent.wait(timeout=30)
    deadline = time.monotonic() + 30
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_exec_could_bring_a_privilege_back() -> None:
    ended = run("""
        import ctypes
        from pam_faceid.adapters import sandbox
        sandbox.drop_to("faceid")
        status = open("/proc/thread-self/status").read()
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert f"{name}:\\t0000000000000000" in status, status
        PR_GET_SECUREBITS = 27
        assert ctypes.CDLL(None).prctl(PR_GET_SECUREBITS) == 0b1110_1011
    """)
    assert ended.returncode == 0, ended.stderr


def test_a_service_manager_may_have_taken_the_right_to_give_up_more() -> None:
    """As a unit whose bounding set lacks CAP_SETPCAP starts its programs."""
    ended = subprocess.run(
        [
            *("setpriv", "--bounding-set", "-setpcap", "--inh-caps", "-setpcap"),
            *(sys.executable, "-c"),
            textwrap.dedent("""
                from pam_faceid.adapters import sandbox
                sandbox.drop_to("faceid")
                status = open("/proc/thread-self/status").read()
                for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                    assert f"{name}:\\t0000000000000000" in status, status
            """),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_who_holds_no_capability_needs_no_call_to_give_it_up() -> None:
    """As a unit without @privileged starts its programs: its filter refuses capset."""
    ended = run("""
        import ctypes, os, struct
        from pam_faceid.adapters import sandbox
        from pam_faceid.adapters.sandbox.kernel import Kernel
        sandbox.drop_to("faceid")
        CAPSET = {"x86_64": 126, "aarch64": 91}[os.uname().machine]
        LOAD, JUMP_EQUAL, RETURN, REFUSE, ALLOW = 0x20, 0x15, 0x06, 0x50001, 0x7FFF0000
        refuse_capset = struct.pack(
            "=" + "HBBI" * 4,
            *(LOAD, 0, 0, 0), *(JUMP_EQUAL, 0, 1, CAPSET),
            *(RETURN, 0, 0, REFUSE), *(RETURN, 0, 0, ALLOW),
        )
        code = ctypes.create_string_buffer(refuse_capset)
        header = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(code)))
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
        Kernel().prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header))
        try:
            Kernel().capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))
        except PermissionError:
            sandbox.drop_to("faceid")
        else:
            raise SystemExit("the call is not refused, which proves nothing")
    """)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("header", "column"), KERNEL_HEADERS)
def test_system_calls_have_the_numbers_of_the_kernels_headers(header: Path, column: int) -> None:
    from pam_faceid.adapters.sandbox.system_calls import NUMBERS

    if not header.exists():
        pytest.skip(f"{header} is not here: linux-libc-dev of another processor")
    found: dict[str, int] = {}
    for line in header.read_text().splitlines():
        if match := re.match(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", line):
            found.setdefault(match[1], int(match[2]))
    # The generic header calls it so where one word is enough for a file's size.
    found.setdefault("newfstatat", found.get("fstatat", -1))
    assert {name: both[column] for name, both in NUMBERS.items()} == {
        name: found.get(name, -1) for name in NUMBERS
    }


def test_a_system_call_that_is_not_listed_does_not_exist() -> None:
    """Each number that the kernel knows, and those that it will know."""
    ended = run(
        f"""
        import ctypes, errno, os
        from pam_faceid.adapters import sandbox
        from pam_faceid.adapters.sandbox import profiles
        from pam_faceid.adapters.sandbox.system_calls import NUMBERS
        machine = ("x86_64", "aarch64").index(os.uname().machine)
        known = {{numbers[machine] for numbers in NUMBERS.values()}}
        sandbox.drop_to("faceid")
        assert profiles.confine_observer(models=[], devices=()).seccomp
        libc = ctypes.CDLL(None, use_errno=True)
        X32 = 0x4000_0000
        # uretprobe and uprobe never reach a filter; the kernel kills whoever else makes them.
        probes = {{335, 336}} if machine == 0 else set()
        for number in [*range({LAST_SYSTEM_CALL + 50}), X32, X32 + 2]:
            if number in known | probes:
                continue
            ctypes.set_errno(0)
            result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
            assert (result, ctypes.get_errno()) == (-1, errno.ENOSYS), number
        os.write(1, b"tried")
        os._exit(0)
    """
    )
    assert ended.stdout == "tried", ended.stderr


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_confined_observer_still_tells_a_device_from_a_program(open_folder: Path) -> None:
    """By links, which Landlock leaves alone, and by the files that it was given."""
    for minor, path in ((0, "devices/pci/usb1/1-6/1-6:1.0"), (9, "devices/virtual")):
        node = open_folder / path / f"video4linux/video{minor}"
        node.mkdir(parents=True)
        for folder in ("dev/char", "class/video4linux"):
            (open_folder / folder).mkdir(parents=True, exist_ok=True)
        target = f"../../{node.relative_to(open_folder)}"
        (open_folder / f"dev/char/81:{minor}").symlink_to(target)
        (open_folder / f"class/video4linux/video{minor}").symlink_to(target)
    (open_folder / "devices/pci/usb1/1-6/descriptors").write_bytes(usb_cameras.camera())
    ended = run(f"""
        import os
        from pathlib import Path
        from pam_faceid.adapters import sandbox
        from pam_faceid.adapters.cameras import hardware
        from pam_faceid.adapters.sandbox import profiles
        sys = Path({str(open_folder)!r})
        about = [str(path) for path in hardware.descriptor_files(sys=sys)]
        sandbox.drop_to("faceid")
        profiles.confine_observer(models=[], devices=(), about=about)
        camera, program = (hardware.place(os.makedev(81, minor), sys=sys) for minor in (0, 9))
        told = [hardware.is_software(p, driver="uvcvideo", sys=sys) for p in (camera, program)]
        assert told == [False, True], told
        assert hardware.video_function(camera).interface == 0
        os.write(1, b"told")
        os._exit(0)
    """)
    assert ended.stdout == "told", ended.stderr


# A laptop's graphics processor and an accelerator, in a mount namespace of its own.
PROCESSORS = """
mkdir /run/sys && mount --rbind /sys /run/sys && mount -t tmpfs none /sys
mkdir -p /sys/devices/system /sys/fs/cgroup /sys/bus/pci/devices /sys/class/drm /sys/class/accel
mount --bind /run/sys/devices/system /sys/devices/system
mount --bind /run/sys/fs/cgroup /sys/fs/cgroup
umount --lazy --recursive /run/sys && rmdir /run/sys
add() {
    place="devices/pci0000:00/$2"
    mkdir -p "/sys/$place/$1/${1%/*}/$3"
    echo 0x8086 >"/sys/$place/vendor"
    echo 0x9a49 >"/sys/$place/device"
    ln -s "../../../../$2" "/sys/$place/$1/${1%/*}/$3/device"
    ln -s "../../$place/$1/${1%/*}/$3" "/sys/class/$1/$3"
    ln -s "../../../$place" "/sys/bus/pci/devices/$2"
}
add drm 0000:00:02.0 card0
add accel 0000:00:0b.0 accel0
mkdir /sys/class/drm/card0-eDP-1
exec "$@"
"""
ASKS_FOR_PROCESSORS = """
import os
from pam_faceid.adapters import sandbox
from pam_faceid.adapters.sandbox import profiles
sandbox.drop_to("faceid")
profiles.confine_observer(models=[], devices=())
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
onnxruntime.get_ep_devices()
print("asked")
"""


def test_the_models_library_has_nothing_to_complain_of_where_there_are_graphics() -> None:
    """It would do so at the terminal of whoever enrols, in yellow."""
    asks = (sys.executable, "-c", ASKS_FOR_PROCESSORS)
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", PROCESSORS, "-", *asks],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("asked\n", "")


@pytest.mark.parametrize("usb", [False, True])
def test_only_a_camera_on_usb_opens_the_way_to_its_library(*, usb: bool) -> None:
    """What libusb needs to look for a device, and no socket to anybody but the kernel."""
    ended = run(f"""
        import errno, os, socket
        from pam_faceid.adapters import sandbox
        from pam_faceid.adapters.sandbox import profiles
        sandbox.drop_to("faceid")
        profiles.confine_observer(models=[], devices=(), usb={usb})
        try:
            listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
            listener.bind((0, 2))
            os.close(os.open("/sys/devices", os.O_RDONLY))
            got = True
        except OSError as error:
            assert error.errno == errno.ENOSYS, error
            got = False
        assert got is {usb}
        for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_PACKET):
            try:
                socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue
            raise SystemExit("a socket to others")
        try:
            os.open("/etc/hostname", os.O_RDONLY)
        except PermissionError:
            os.write(1, b"kept in")
        os._exit(0)
    """)
    assert ended.stdout == "kept in", ended.stdout + ended.stderr


def test_a_process_with_threads_is_not_confined() -> None:
    """Its other threads would go on as before, with the same memory."""
    ended = run("""
        import threading
        from pam_faceid.adapters.sandbox import profiles
        from pam_faceid.core.errors import PrivilegeError
        waiting = threading.Event()
        threading.Thread(target=waiting.wait, daemon=True).start()
        try:
            profiles.confine_observer(models=[], devices=())
        except PrivilegeError as error:
            print("refused", error)
    """)
    assert ended.stdout.startswith("refused"), ended.stdout + ended.stderr


def test_a_busy_camera_is_no_fault_of_a_confined_keeper() -> None:
    """It may no longer look at other processes to say who holds the camera."""
    ended = run("""
        import os
        from pam_faceid.adapters.cameras.nodes import holders, name_holders
        from pam_faceid.adapters.sandbox import profiles
        from pam_faceid.core.errors import CameraBusyError
        profiles.confine_keeper(keeps=[], child=os.getpid())
        assert holders("auto") == []
        named = name_holders(CameraBusyError("in use"), "/dev/video0", besides=None)
        assert (named.message, "doctor" in named.hint) == ("in use", True)
    """)
    assert ended.returncode == 0, ended.stderr


def test_a_camera_that_may_be_opened_may_be_asked() -> None:
    """Landlock holds ioctls on devices back from version 5 on, apart from reading and writing."""
    ended = run("""
        import errno, fcntl, os
        from pam_faceid.adapters.sandbox import landlock
        VIDIOC_QUERYCAP = 0x80685600
        landlock.restrict(
            [
                landlock.Grant(["/dev/null"], landlock.DEVICE),
                landlock.Grant(["/dev/zero"], landlock.READ),
            ],
            may_signal=False,
        )
        no_camera = errno.ENOTTY  # says the driver, so the question came through
        for device, since_5 in (("/dev/null", no_camera), ("/dev/zero", errno.EACCES)):
            expected = since_5 if landlock.version() >= 5 else no_camera
            try:
                fcntl.ioctl(os.open(device, os.O_RDONLY), VIDIOC_QUERYCAP, bytearray(104))
            except OSError as error:
                assert error.errno == expected, (device, error)
    """)
    assert ended.returncode == 0, ended.stderr


def test_another_architectures_call_ends_the_process() -> None:
    """On x86_64 a call through int 0x80 has other numbers: 20 is writev or getpid."""
    if os.uname().machine != "x86_64":
        pytest.skip("the 32-bit entry is x86's")
    ended = run("""
        import ctypes, mmap, os
        # mov eax, 20 (getpid of 32 bits); int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3")
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        assert call() == os.getpid(), "this kernel has no 32-bit calls"
        os.write(1, b"before")
        from pam_faceid.adapters import sandbox
        from pam_faceid.adapters.sandbox import profiles
        sandbox.drop_to("faceid")
        profiles.confine_observer(models=[], devices=())
        call()
        os.write(1, b"after")
    """)
    if "no 32-bit calls" in ended.stderr or ended.returncode == -11:
        pytest.skip("this kernel has no 32-bit calls")
    assert ended.stdout == "before"
    assert ended.returncode == -31  # SIGSYS


def test_locked_memory_is_not_swapped_and_a_limit_that_stays_locks_nothing() -> None:
    ended = run("""
        import resource
        from pam_faceid.adapters.sandbox.memory import lock_memory
        def locked():
            (line,) = [l for l in open("/proc/self/status") if l.startswith("VmLck")]
            return int(line.split()[1])
        liftable = True
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
        except (ValueError, PermissionError):
            liftable = False
        assert lock_memory(limit_counts=True) == liftable
        assert bool(locked()) == liftable
        assert lock_memory(limit_counts=False)
        assert locked()
        more = bytearray(64 << 20)  # over the usual limit
        assert locked() > 64 << 10
    """)
    assert ended.returncode == 0, ended.stderr


def test_what_is_wiped_is_gone() -> None:
    from array import array

    from pam_faceid.adapters.sandbox.memory import wipe

    key, vector = bytearray(b"secret"), array("f", [0.5, 0.25])
    wipe(key)
    wipe(memoryview(vector))
    assert key == bytes(6)
    assert vector.tolist() == [0.0, 0.0]
