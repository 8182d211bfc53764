"""Stand-ins for a machine's GPUs: what NVML and torch.cuda answer there."""

from types import SimpleNamespace

GIB = 2**30


class Cuda:
    """`torch.cuda` of a process whose first GPU has so many GiB; `caps` are the fractions that were set."""

    def __init__(self, gib=0.0, name="NVIDIA stand-in", initialized=False, native_bfloat16=True):
        self.gib, self.name, self.initialized, self.native_bfloat16 = gib, name, initialized, native_bfloat16
        self.caps = []

    def is_available(self):
        return self.gib > 0

    def is_initialized(self):
        return self.initialized

    def get_device_properties(self, device):
        self.initialized = True
        return SimpleNamespace(name=self.name, total_memory=int(self.gib * GIB))

    def set_per_process_memory_fraction(self, fraction, device):
        self.caps.append((fraction, device))

    def is_bf16_supported(self, including_emulation=True):
        return self.native_bfloat16 or including_emulation


class Card(SimpleNamespace):
    """A GPU or a slice, as NVML sees it: uuid, name, total and reserved GiB, slices (None: it knows none)."""

    def __init__(self, uuid, name="NVIDIA RTX A6000", total=48.0, reserved=0.5, slices=None):
        super().__init__(uuid=uuid, name=name, total=total, reserved=reserved, slices=slices)


class Nvml:
    """`pynvml` on a machine with these cards; of an old driver it knows no reserved memory."""

    nvmlMemory_v2 = 2

    class NVMLError(Exception):
        pass

    def __init__(self, *cards, library=True, old_driver=False):
        self.cards, self.library, self.old_driver, self.n_open = cards, library, old_driver, 0

    def nvmlInit(self):
        if not self.library:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.n_open += 1

    def nvmlShutdown(self):
        self.n_open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, i):
        return self.cards[i]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        known = [*self.cards, *(cut for card in self.cards for cut in card.slices or () if cut)]
        return self._found([card for card in known if card.uuid == uuid])

    def nvmlDeviceGetUUID(self, card):
        return card.uuid

    def nvmlDeviceGetName(self, card):
        return card.name

    def nvmlDeviceGetMemoryInfo(self, card, version=None):
        if card.total is None or (version and self.old_driver):
            raise self.NVMLError("Not Supported")
        total, reserved = int(card.total * GIB), int(card.reserved * GIB)
        return SimpleNamespace(total=total, reserved=reserved) if version else SimpleNamespace(total=total)

    def nvmlDeviceGetMigMode(self, card):
        if card.slices is None:
            raise self.NVMLError("Not Supported")
        return [int(bool(card.slices))] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, card):
        return len(card.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card, i):
        return self._found([card.slices[i]] if card.slices[i] else [])

    def _found(self, cards):
        if not cards:
            raise self.NVMLError("Not Found")
        return cards[0]
