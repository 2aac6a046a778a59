"""The sets of devices that are compared, and running evener on one of them."""

import glob
import os
from dataclasses import dataclass, field

from common import ROOT, WORK, run, run_json


@dataclass
class DeviceSet:
    name: str
    vendors: tuple  # the drivers that evener sees
    devices: str = None  # its device list; None: the planner chooses
    limits: dict = field(default_factory=dict)  # environment that limits drivers to their cores


def driver_files():
    """{"pocl": its ICD file, ...} for the drivers that are installed or fetched here."""
    found = {}
    intel = os.path.join(ROOT, "drivers", "intel", "lib", "libintelocl.so")
    for name, file in (("pocl", "/etc/OpenCL/vendors/pocl.icd"), ("intel", "/etc/OpenCL/vendors/intel.icd")):
        if os.path.exists(file):
            with open(file) as text:
                found[name] = text.read().strip()
    if os.path.exists(intel):
        found["intel"] = os.path.realpath(intel)
    return found


def device_sets(drivers, cores):
    left = cores // 2
    halves = f"{left}+{cores - left}"
    half_each = {"POCL_MAX_PTHREAD_COUNT": str(left), "DPCPP_CPU_NUM_CUS": str(cores - left)}
    wanted = [DeviceSet("PoCL, planned", ("pocl",)), DeviceSet("PoCL + Intel, planned", ("pocl", "intel")),
              DeviceSet("PoCL whole", ("pocl",), "pocl"), DeviceSet(f"PoCL halves {halves}", ("pocl",), "pocl/" + halves),
              DeviceSet("PoCL + Intel, half each", ("pocl", "intel"), "pocl,intel", half_each)]
    return [s for s in wanted if set(s.vendors) <= set(drivers) and (left or not s.devices or s.devices == "pocl")]


class Evener:
    def __init__(self, program, drivers):
        self.program = program
        self._drivers = drivers
        self._caches = {"EVENER_CACHE_DIR": os.path.join(WORK, "cache"),
                        "POCL_CACHE_DIR": os.path.join(WORK, "pocl-cache")}

    def forget_profiles(self):
        """Forgets the profiles of another run, which had other noise. Keeps what tuning found."""
        for path in glob.glob(os.path.join(self._caches["EVENER_CACHE_DIR"], "profiles", "*.txt")):
            if not os.path.basename(path).startswith("gemm"):
                os.remove(path)

    def environment(self, devices, caches=None):
        folder = os.path.join(WORK, "vendors", "-".join(devices.vendors))
        os.makedirs(folder, exist_ok=True)
        for vendor in devices.vendors:
            with open(os.path.join(folder, vendor + ".icd"), "w") as icd:
                icd.write(self._drivers[vendor] + "\n")
        caches = caches or self._caches
        for path in caches.values():
            os.makedirs(path, exist_ok=True)
        return {"OCL_ICD_VENDORS": folder, **caches, **devices.limits}

    def json(self, devices, command, *arguments):
        chosen = ["-d", devices.devices] if devices.devices and command not in ("devices", "inspect") else []
        return run_json([self.program, command, *arguments, *chosen, "--json"], self.environment(devices))

    def first_token(self, devices, model, caches=None):
        """Seconds from the start of the program to its first byte of text, and its peak memory."""
        chosen = ["-d", devices.devices] if devices.devices else []
        ran = run([self.program, "run", "-m", model, "-p", "The capital of France is", "-n", "1", "--temp", "0", "-q",
                   *chosen], self.environment(devices, caches))
        return ran.first_s, ran.peak_bytes

    def measure(self, devices, model, prefill, decode, depth, repeats):
        """As Peer.measure, with the whole answer of evener bench."""
        answer, ran = self.json(devices, "bench", "-m", model, "-p", str(prefill or 1), "-n", str(decode or 1),
                                "--depth", str(depth), "-r", str(repeats), "--no-alone")
        together = answer["together"]
        speeds = {}
        if prefill:
            speeds["prefill"] = [together["prefill_tok_s"]]
        if decode:
            speeds["decode"] = [together["decode_tok_s"]]
        return speeds, ran.peak_bytes, answer
