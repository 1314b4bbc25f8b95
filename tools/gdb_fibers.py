# SPDX-License-Identifier: Apache-2.0
"""weir-fibers: list the fibers of a running Weir or of its core file, in gdb.

    gdb -p PID -x tools/gdb_fibers.py
    (gdb) weir-fibers            all fibers with their backtraces
    (gdb) weir-fibers -s         one line a fiber
    (gdb) weir-fibers -n serve   only those with this name

A fiber that does not run has its callee-saved registers on its own stack (src/fiber/switch.h).
An unwinder that starts there lets gdb's own "backtrace" walk it, so this needs no registers to be
written and works on core files too.
"""
import gdb
import gdb.unwinder


def layout(arch):
    """Offsets from the saved stack pointer: registers, return address, size."""
    if "aarch64" in arch:
        regs = {"x%d" % (19 + i): 8 * i for i in range(11)}
        return regs, "x30", 88, 160
    names = ["r15", "r14", "r13", "r12", "rbx", "rbp"]
    return {n: 8 * (i + 1) for i, n in enumerate(names)}, "rip", 56, 64


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class FiberUnwinder(gdb.unwinder.Unwinder):
    """While a fiber is chosen, the frame "above" the thread's innermost one is the fiber's."""

    def __init__(self):
        super().__init__("weir-fibers")
        self.saved_sp = None

    def __call__(self, pending):
        if self.saved_sp is None:
            return None
        regs, ret, at, size = layout(gdb.selected_inferior().architecture().name())
        word = gdb.lookup_type("unsigned long")
        sp_name, pc_name = ("sp", "pc") if ret == "x30" else ("rsp", "rip")
        info = pending.create_unwind_info(
            FrameId(pending.read_register(sp_name), pending.read_register(pc_name)))

        def saved(offset):
            return gdb.Value(self.saved_sp + offset).cast(word.pointer()).dereference()

        for name, offset in regs.items():
            info.add_saved_register(name, saved(offset))
        info.add_saved_register(pc_name, saved(at))
        info.add_saved_register(sp_name, gdb.Value(self.saved_sp + size).cast(word))
        self.saved_sp = None  # only this one frame is ours
        return info


unwinder = FiberUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def backtrace(sp):
    unwinder.saved_sp = int(sp)
    gdb.invalidate_cached_frames()
    try:
        text = gdb.execute("backtrace", to_string=True)
    finally:
        unwinder.saved_sp = None
        gdb.invalidate_cached_frames()
    # The first frame is the thread's own, which only served to begin.
    lines = text.splitlines()
    second = next((i for i, l in enumerate(lines) if l.startswith("#1")), len(lines))
    return [l for l in lines[second:] if not l.startswith("Backtrace stopped")]


def chain(head, field):
    """The struct fibers whose member field is on the ring that begins at head."""
    fiber = gdb.lookup_type("struct fiber")
    offset = next(f.bitpos // 8 for f in fiber.fields() if f.name == field)
    link = head["next"]
    while link != head.address:
        address = int(link) - offset
        yield gdb.Value(address).cast(fiber.pointer()).dereference()
        link = link["next"]


def text(pointer):
    try:
        return pointer.string()
    except gdb.error:
        return "?"


class WeirFibers(gdb.Command):
    """List the fibers of all threads: weir-fibers [-s] [-n NAME]"""

    def __init__(self):
        super().__init__("weir-fibers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        only = words[words.index("-n") + 1] if "-n" in words else None
        total = 0
        thread = gdb.lookup_static_symbol("fiber_threads").value()
        while int(thread) != 0:
            print("thread %d: %d fibers, %d stacks" % tuple(
                int(thread[name]) for name in ("tid", "count", "stacks")))
            try:
                for fiber in chain(thread["alive"], "alive"):
                    if only is None or text(fiber["name"]) == only:
                        self.show(fiber, "-s" not in words)
                        total += 1
            except gdb.MemoryError as e:
                # gdb's own generate-core-file leaves mappings with guard pages out; the kernel does not.
                print("    not readable (%s): does the core file hold the stacks?" % e)
            thread = thread["next"]
        print("%d fibers" % total)

    def show(self, fiber, frames):
        state = str(fiber["state"]).replace("FIBER_", "").lower()
        notes = " cancelled" if fiber["cancelled"] else ""
        notes += " shielded" if int(fiber["shielded"]) else ""
        print("fiber %#x %s %s%s data=%#x" % (int(fiber.address), text(fiber["name"]), state, notes,
                                              int(fiber["data"])))
        if not frames:
            return
        if state == "running":
            print("    (the backtrace of its thread)")
            return
        for line in backtrace(fiber["ctx"]["sp"]):
            print("    " + line)


WeirFibers()
