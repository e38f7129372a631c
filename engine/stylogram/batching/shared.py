"""What batches of one run share: networks, graphs, sessions, decoded styles and their targets. Each is made once."""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from stylogram_export.network import Network

from .. import _core, devices, losses, memory, pictures, remote, zoo
from ..devices import library
from ..devices import sessions as gpu
from ..driver import Callback, Driver, Outcome
from ..errors import Error
from ..painting import Painting, Targets
from ..session import Array, Extractor, Shape, features_of, give_back, kernel_threads
from ..stages import StagedPass
from ..subject import Picture, StylePicture, Subject, chosen
from ..tasks.stylize import Options
from .memo import Memo

MIB = 2**20
STYLES = 256 * MIB  # decoded styles
TARGETS = 256 * MIB  # of VGG-19 a style has 2.4 MB of Gram matrices
NETWORKS = 3

_Job = TypeVar("_Job")
_Made = TypeVar("_Made")


class _Remembered(StylePicture):
    """A style that remembers itself at the sizes it was asked for."""

    def __init__(self, rgb: Array, key: Hashable) -> None:
        super().__init__(rgb, key)
        self._sized: dict[tuple[int, int], Array] = {}

    def at(self, size: tuple[int, int]) -> Array:
        if size not in self._sized:
            self._sized[size] = super().at(size)
        return self._sized[size]

    def nbytes(self) -> int:
        return self.rgb.nbytes + sum(batch.nbytes for batch in self._sized.values())


class Shared:
    """`room`: bytes that sessions may take which no batch uses at present. `here`: whether jobs run in this process,
    on its devices.
    """

    def __init__(self, room: float, here: bool = True) -> None:
        self.passes: Memo[StagedPass] = Memo(room)
        self.gpu_passes: Memo[gpu.DevicePass] = Memo(0)  # as much as the GPU has: see device()
        self._gpu_free = 0.0
        self._here = here
        self._gpu_thread = ThreadPoolExecutor(1, "stylogram-gpu")  # ONNX Runtime keeps what it captures by thread
        self._devices: Memo[devices.Choice] = Memo(len(devices.DEVICES) * len(devices.PRECISIONS))
        self.targets: Memo[Targets] = Memo(TARGETS, _weight)
        self._styles: Memo[_Remembered] = Memo(STYLES, _Remembered.nbytes)
        self._networks: Memo[Network] = Memo(NETWORKS)
        self._models: Memo[onnx.ModelProto] = Memo(NETWORKS)
        self.limits: dict[Hashable, int] = {}  # pictures at once, by kind, where memory has run out
        self._checked: set[Hashable] = set()

    def network_key(self, options: Options, pooling: str | None) -> Hashable:
        """Names a network as it is resolved."""
        given = options.network
        name: Hashable = id(given) if isinstance(given, Network) else str(given)
        return name, options.preprocess, pooling, options.seed if name == zoo.RANDOM else None

    def network(self, options: Options, pooling: str | None) -> Network:
        make = partial(zoo.resolve, options.network, options.preprocess, pooling, options.seed)
        return self._networks.get(self.network_key(options, pooling), make)

    def model(self, subject: Subject) -> onnx.ModelProto:
        """The network's graph on pictures in the subject's range."""
        unit, pooling = subject.recipe.pixel_range, subject.recipe.pooling
        key = self.network_key(subject.options, pooling), unit
        return self._models.get(key, lambda: subject.taps.model(self.network(subject.options, pooling), unit))

    def device(self, options: Options) -> devices.Choice:
        """What these options run on. Raises Error for what is not there."""
        tiled = options.tile is not None
        name = "cpu" if tiled and options.device == "auto" else options.device
        make = partial(devices.choose, name, options.precision)
        chosen = self._devices.get((name, options.precision), make)
        if tiled and chosen.place is not None:
            raise Error(f"tile: on a GPU the picture is taken as a whole, got --device {name}; accepted: cpu")
        if chosen.place is not None and not self._gpu_free:
            self._gpu_free = library.gpu(chosen.place.queue.index).free
            self.gpu_passes = Memo(memory.SHARE * self._gpu_free)
        return chosen

    def said(self, options: Options) -> list[str]:
        """What is to be said of the device of these options."""
        note = self.device(options).note
        return [note] if note else []

    def on_gpu(self, options: Options) -> bool:
        return self.device(options).place is not None

    def threads(self, options: Options, processors: ThreadPoolExecutor) -> ThreadPoolExecutor:
        """Who paints groups of these options: the processors' threads, or always the same one."""
        return self._gpu_thread if self.on_gpu(options) else processors

    def in_parts(
        self,
        group: list[_Job],
        options: Options,
        processors: int,
        pool: ThreadPoolExecutor,
        paint: Callable[[list[_Job], int, int], _Made],
    ) -> list[tuple[list[_Job], Future[_Made]]]:
        """Have a group of jobs of these options painted: in as many parts at once as there are processors, with equal
        shares of them; on a GPU as a whole. `paint` gets a part, its number (Group's slot) and its processors.
        """
        count = 1 if self.on_gpu(options) else min(processors, len(group))
        threads = self.threads(options, pool)
        parts = [group[at::count] for at in range(count)]
        return [(part, threads.submit(paint, part, slot, processors // count)) for slot, part in enumerate(parts)]

    def bytes_each(self, subject: Subject) -> int:
        """What a picture of the subject's kind takes at its largest scale, with its margin."""
        margin = 2 * subject.recipe.margin
        height, width = subject.sizes[-1]
        size = (height + margin, width + margin)
        return memory.bytes_a_picture(self.model(subject), subject.taps.tensors, size, subject.recipe)

    def room(self, options: Options, free: float) -> float:
        """Bytes for the pictures of these options, where the machine has `free` ones: those, or what the GPU had before
        anything was put there."""
        return self._gpu_free if self.on_gpu(options) else free

    def forget_passes(self) -> bool:
        """Let go of all sessions, as memory has run out; whether there were any on a GPU."""
        held = bool(self.gpu_passes.values())
        self.passes.clear()
        self.gpu_passes.clear()
        give_back()
        return held

    def notes(self) -> tuple[str, ...]:
        """What is to be said of the devices that were asked for."""
        return tuple(chosen.note for chosen in self._devices.values() if chosen.note)

    def check(self, options: Options) -> None:
        """Raises Error if the device, the network, the layers or the loss of these options are not there."""
        if self._here:
            self.device(options)
        recipe = options.recipe()
        layers = [None if own is None else tuple(own.items()) for own in (options.content_layers, options.style_layers)]
        weights = (recipe.content_weight > 0, recipe.style_weight > 0)
        key = self.network_key(options, recipe.pooling), options.preset, *layers, *weights, recipe.style_loss
        if key not in self._checked:
            losses.load("style", recipe.style_loss)
            chosen(options, recipe, self.network(options, recipe.pooling))
            self._checked.add(key)

    def style(self, source: Picture) -> StylePicture:
        """A style from a file."""
        path = os.fspath(source) if isinstance(source, str | Path) else None
        return self._styles.get(path, lambda: _Remembered(pictures.read(source).rgb, path))

    def subject(self, content: str, styles: Sequence[str], options: Options) -> Subject:
        """A subject, read. Raises Error for what cannot be."""
        if remote.is_url(options.init):
            options = options.model_copy(update={"init": pictures.read(str(options.init)).rgb})
        subject = Subject(content, styles, options, self.style)
        subject.choose(self.network(options, subject.recipe.pooling))
        return subject


def _weight(targets: Targets) -> float:
    return float(sum(target.nbytes for target in targets.values()))


class Group(Painting):
    """Subjects of one network and kind, painted together with what is shared.

    `slot` tells groups apart that run at the same time: each has sessions of its own, on `threads` processors; on a GPU
    one runs at a time. `each` are the bytes that a picture takes. It is for the thread that makes it.
    """

    def __init__(self, subjects: Sequence[Subject], shared: Shared, slot: int, threads: int, each: int) -> None:
        super().__init__(subjects)
        self._shared, self._slot, self._threads, self._each = shared, slot, threads, each
        self._model = shared.model(subjects[0])
        first = subjects[0]
        self._network = shared.network_key(first.options, first.recipe.pooling), first.recipe.pixel_range
        self._tensors, self._convolution = first.taps.tensors, first.options.convolution
        self._style_tensors = [tensor for _, tensor, _ in first.taps.style]
        self._place = shared.device(first.options).place
        self._where = (first.options.device, first.options.precision) if self._place is not None else None
        if self._place is not None:
            _core.cuda_use(self._place.queue.index)

    def paint(self, look: Callback) -> Outcome:
        """All scales; a picture that fails does so alone. `look` is told of every iteration."""
        stages = [partial(self.stage, index) for index in range(len(self.sizes))]
        with kernel_threads(self._threads):
            return Driver(look, tolerance=self.subjects[0].options.tolerance, apart=True).run(stages, len(stages))

    @property
    def graph(self) -> onnx.ModelProto:
        return self._model

    def feature_pass(self, index: int, shape: Shape) -> StagedPass | gpu.DevicePass:
        largest = max(height * width for height, width in self.sizes)
        weight = shape[0] * self._each * (self.sizes[index][0] * self.sizes[index][1]) / largest
        if self._place is not None:
            on_gpu = partial(gpu.DevicePass, self._model, self._tensors, shape, self._place)
            where = self._network, tuple(self._tensors), shape, self._where
            return self._shared.gpu_passes.get(where, on_gpu, weight)
        key = self._network, tuple(self._tensors), shape, self._threads, self._slot, self._convolution
        options: dict[str, Any] = {"threads": self._threads, "convolution": self._convolution}
        make = partial(StagedPass, self._model, self._tensors, shape, **options)
        return self._shared.passes.get(key, make, weight)

    def features(self, picture: Array) -> Mapping[str, Any]:
        if self._place is not None:
            found = gpu.features_of(self._model, self._style_tensors, picture, self._place)
            return gpu.wanted(found, self.recipe.style_loss)
        return features_of(self._model, self._style_tensors, picture, self._threads, self._convolution)

    def extractor(self, shape: Shape) -> Extractor:
        options: dict[str, Any] = {"threads": self._threads, "convolution": self._convolution}
        return Extractor(self._model, self._style_tensors, shape, **options)

    def targets(self, subject: Subject, number: int, index: int) -> Targets:
        style = subject.styles[number]
        masks = _mask_key(subject, number)
        make = partial(super().targets, subject, number, index)
        if style.key is None or masks is None:
            return make()
        size = style.batches[index].shape[2:]
        loss = subject.recipe.style_loss
        key = self._network, tuple(self._style_tensors), style.key, size, loss, masks, self._where or subject.computing
        return self._shared.targets.get(key, make)


def _mask_key(subject: Subject, number: int) -> Hashable | None:
    """Names the styles' masks; None where they have no name."""
    sources: list[Any] = [source for _, source in subject.options.mask]
    if any(isinstance(source, np.ndarray) for source in sources):
        return None
    if not sources:
        return ()
    return number, *map(str, sources), *(bool(style.share) for style in subject.styles)
