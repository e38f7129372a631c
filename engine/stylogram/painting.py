"""Painting: pictures that go through one network together, each with its own content, styles, weights and start.

What a batch of N gives a picture is what it gets alone: the terms below see one picture each, and the optimisers keep a
state for each.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx

from . import losses, tiling_stage
from .devices.course import stage_of
from .devices.sessions import DevicePass
from .driver import Outcome, Stage
from .objective import FeatureTerm, Objective, PictureTerm, Total, Values
from .preconditioned import optimiser_of
from .result import Result
from .session import Array, Extractor, Shape, give_back
from .stages import StagedPass
from .subject import Subject
from .tiling_objective import TiledObjective, TiledPass

Targets = dict[tuple[str, int], Any]  # what a style loss aims at, by tensor and region

Pass = StagedPass | DevicePass


class _Together:
    """Feature terms at one layer: some for each picture of a batch, which see that picture alone."""

    def __init__(self, terms: Sequence[Sequence[FeatureTerm]]) -> None:
        self.name, self.tap = terms[0][0].name, terms[0][0].tap
        self._terms = terms

    def each(self) -> Sequence[Sequence[FeatureTerm]]:
        """The terms of each picture."""
        return self._terms

    def add(self, features: Array, gradient: Array, accumulate: bool, value: Values) -> None:
        for at, own in enumerate(self._terms):
            one = slice(at, at + 1)
            for number, term in enumerate(own):
                term.add(features[one], gradient[one], accumulate or number > 0, value[one])


class _PicturesTogether:
    """The same of picture terms; a picture may have none."""

    def __init__(self, name: str, terms: Sequence[PictureTerm | None]) -> None:
        self.name = name
        self._terms = terms

    def each(self) -> Sequence[Sequence[PictureTerm]]:
        """The terms of each picture: one or none."""
        return [[] if term is None else [term] for term in self._terms]

    def add(self, picture: Array, gradient: Array, value: Values) -> None:
        for at, term in enumerate(self._terms):
            one = slice(at, at + 1)
            if term is not None:
                term.add(picture[one], gradient[one], value[one])


class Painting:
    """Subjects of one network and kind, and a stage for each scale. Where the sessions come from, a subclass says."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = list(subjects)
        self.sizes, self.recipe = subjects[0].sizes, subjects[0].recipe  # of the recipe what kind() compares

    @property
    def graph(self) -> onnx.ModelProto:
        """The network on pictures in [0, pixel_range]. Asked for before the last feature_pass()."""
        raise NotImplementedError

    def feature_pass(self, index: int, shape: Shape) -> Pass:
        """The sessions of a scale, for pictures or tiles of `shape` (N,3,H,W). Asked for after the last features()."""
        raise NotImplementedError

    def features(self, picture: Array) -> Mapping[str, Any]:
        """The features at the style layers of one picture (1,3,h,w) in [0, pixel_range]: arrays, or a GPU's."""
        raise NotImplementedError

    def extractor(self, shape: Shape) -> Extractor:
        """The session of features(), for tiles of `shape` (1,3,h,w)."""
        raise NotImplementedError

    def stage(self, index: int, before: Array | None) -> Stage:
        """The objective and the optimiser of one scale; `before` (N,3,h,w) are the pictures of the scale before."""
        # First: their sessions are gone before the large one is made.
        targets = [
            [self.targets(subject, number, index) for number in self._styles(subject)] for subject in self.subjects
        ]
        recipe = self.recipe
        network = self._sessions(index)
        if not isinstance(network, DevicePass):  # whose graphs are small
            give_back()  # the graph that was handed out above is freed only now
        for at, subject in enumerate(self.subjects):
            self._put(network, at, subject.canvas(subject.contents[index]))
        features, own = self._feature_terms(network, targets, index), self._picture_terms(network.shape)
        for at, subject in enumerate(self.subjects):
            self._put(network, at, subject.initial(index, None if before is None else before[at]))
        if isinstance(network, DevicePass):
            return stage_of(network, features, own, recipe, recipe.iterations[index])
        objective: Total
        if isinstance(network, TiledPass):
            objective = TiledObjective(network, features, own)
        else:
            objective = Objective(network, features, own)
        optimiser = optimiser_of(recipe.optimiser, network.shape)
        return Stage(objective, optimiser, recipe.iterations[index], recipe.pixel_range, recipe.clamp, recipe.margin)

    def shape(self, index: int) -> Shape:
        """(N,3,H,W) of a scale, with its margin."""
        height, width = (side + 2 * self.recipe.margin for side in self.sizes[index])
        return len(self.subjects), 3, height, width

    def _sessions(self, index: int) -> Pass | TiledPass:
        count, *_, height, width = shape = self.shape(index)
        plan = tiling_stage.plan_of_picture(self.graph, self.subjects[0], (height, width)) if count == 1 else None
        if plan is None:
            return self.feature_pass(index, shape)
        tile = self.feature_pass(index, (1, 3, *plan.size))
        assert isinstance(tile, StagedPass), "tiles are refused on a GPU"
        return TiledPass(tile, plan, (height, width))

    def _feature_terms(self, network: Pass | TiledPass, targets: Sequence[Sequence[Targets]], index: int) -> list[Any]:
        layers = range(len(self.subjects[0].taps.style))
        if isinstance(network, TiledPass):
            style = [term for layer in layers for term in self._style_terms(network, 0, layer, targets[0], index)]
            return [*tiling_stage.content_terms(network, self.subjects[0]), *style]
        together = [
            _Together([self._style_terms(network, at, layer, own, index) for at, own in enumerate(targets)])
            for layer in layers
        ]
        return [*self._content_terms(network), *together]

    def _put(self, network: Pass | TiledPass, at: int, picture: Array) -> None:
        np.multiply(picture.transpose(2, 0, 1), np.float32(self.recipe.pixel_range), out=network.picture[at])

    def _styles(self, subject: Subject) -> range:
        return range(len(subject.styles) if subject.taps.style else 0)

    def targets(self, subject: Subject, number: int, index: int) -> Targets:
        """What style `number` asks of every layer and region. Its features are not kept: they are large."""
        module = losses.load("style", subject.recipe.style_loss)
        picture = subject.styles[number].batches[index] * np.float32(self.recipe.pixel_range)
        plan = tiling_stage.plan_of_style(self.graph, subject, picture.shape[2:])
        if plan is not None:
            tile = self.extractor((1, 3, *plan.size))
            return tiling_stage.style_targets(subject.recipe.style_loss, tile, plan, picture, subject.regions)
        return {
            (tensor, k): module.target(values, region.style_mask(values.shape[2:]))
            for tensor, values in self.features(picture).items()
            for k, region in enumerate(subject.regions)
        }

    def _content_terms(self, network: Pass) -> list[FeatureTerm]:
        if not self.subjects[0].taps.content:
            return []
        network.forward()
        module = losses.load("content", "features")
        return [
            _Together([[self._content_term(module, network, at, layer)] for at in range(len(self.subjects))])
            for layer in range(len(self.subjects[0].taps.content))
        ]

    def _content_term(self, module: ModuleType, network: Pass, at: int, number: int) -> FeatureTerm:
        recipe = self.subjects[at].recipe
        layer, tensor, weight = self.subjects[at].taps.content[number]
        target = network.features[tensor][at : at + 1].copy()
        term: FeatureTerm = module.Term(
            layer, tensor, [target], weight * recipe.content_weight, recipe.content_normalization
        )
        return term

    def _style_terms(
        self, network: Pass | TiledPass, at: int, number: int, targets: Sequence[Targets], index: int
    ) -> list[Any]:
        """Those of one picture at one layer, one for each of its regions."""
        subject, recipe = self.subjects[at], self.subjects[at].recipe
        module = losses.load("style", recipe.style_loss)
        layer, tensor, weight = subject.taps.style[number]
        form = module.PartTerm if isinstance(network, TiledPass) else module.Term
        shape = network.shapes[tensor]
        return [
            form(
                layer,
                tensor,
                (1, *shape[1:]),
                [(own[tensor, k], share) for own, share in zip(targets, region.shares, strict=True) if share],
                weight * recipe.style_weight * region.weight,
                recipe.style_normalization,
                network.shape[2] * network.shape[3],
                subject.mask(region, index, shape[2:]),
            )
            for k, region in enumerate(subject.regions)
        ]

    def _picture_terms(self, whole: Shape) -> list[PictureTerm]:
        module, shape = losses.load("picture", "tv"), (1, *whole[1:])
        recipes = [subject.recipe for subject in self.subjects]
        if not any(recipe.tv_weight for recipe in recipes):
            return []
        own = [module.Term(shape, recipe.tv_weight, recipe.tv) if recipe.tv_weight else None for recipe in recipes]
        return [_PicturesTogether(module.NAME, own)]

    def results(self, outcome: Outcome) -> list[Result]:
        """One for each subject; the trace is that of all."""
        return [
            subject.result(picture, outcome.trace)
            for subject, picture in zip(self.subjects, outcome.pictures, strict=True)
        ]
