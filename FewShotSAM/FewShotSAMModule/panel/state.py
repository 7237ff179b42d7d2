"""What of the panel can be used when, and the one line that says why not.

Plain decisions without Qt: the panel gathers `Facts`, asks `panel_state`, and applies the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .choices import Extent, Into, Method, SupportSource

IDLE, RUNNING, CANCELLING, INSTALLING = "idle", "running", "cancelling", "installing"


@dataclass(frozen=True)
class Facts:
    """What the panel sees at this moment.

    Attributes:
        volume: name of the chosen volume, "" for none.
        volume_dimension: 3, or 2 for a single slice.
        source: where the support comes from.
        segmentation: name of the support segmentation, "" for none.
        segments: how many segments it has; chosen: how many of them are ticked.
        some: whether a person wants to choose among them.
        support_file: the chosen file's path, "" for none; support_file_exists: whether it is there.
        method: how points are chosen.
        fob_weights: FoB's weights that a person chose, "" for those of the preset;
            fob_weights_known: they are a file that is there, or a name of the catalogue.
        into: where the result goes; output: name of the existing segmentation, "" for none;
            output_is_support: it is the support segmentation.
        extent: which slices are asked for; marked: first and last slice that is painted, or None.
        job: `IDLE`, `RUNNING`, `CANCELLING` or `INSTALLING`.
        first, last: the slice range asked for, counted from 0; last below 0 means the last slice.
        slices: slices along the axis, 0 where it is not known yet.
        current_slice: the slice shown, or None where no view shows one of the support's axis.
        to_install, to_download: what the run needs first, by name.
        reviewed: whether there is a result to review; doubtful: how many slices are in doubt.
        decision: "accepted", "rejected" or "" of the slice shown.
        has_prompts: whether prompts are shown now.
        undoable: whether the last result can be taken back.
        many: how many of many volumes are ticked; many_folder, many_output: the folders of their
            files and of the results, "" for none.
    """

    volume: str = ""
    volume_dimension: int = 3
    source: SupportSource = SupportSource.segmentation
    segmentation: str = ""
    segments: int = 0
    chosen: int = 0
    some: bool = False
    support_file: str = ""
    support_file_exists: bool = False
    method: Method = Method.synpo
    fob_weights: str = ""
    fob_weights_known: bool = False
    into: Into = Into.new
    output: str = ""
    output_is_support: bool = False
    extent: Extent = Extent.all
    marked: tuple[int, int] | None = None
    job: str = IDLE
    first: int = 0
    last: int = -1
    slices: int = 0
    current_slice: int | None = None
    to_install: tuple[str, ...] = ()
    to_download: tuple[str, ...] = ()
    reviewed: bool = False
    doubtful: int = 0
    decision: str = ""
    has_prompts: bool = False
    undoable: bool = False
    many: int = 0
    many_folder: str = ""
    many_output: str = ""


@dataclass(frozen=True)
class PanelState:
    """What to show.

    Attributes:
        enabled: name of a widget in the .ui -> whether it can be used.
        visible: name of a widget -> whether it is shown.
        hint: one line under the buttons: what is missing, or what pressing will do first.
        slice_hint: the same for "Segment slice"; many_hint: for many volumes.
        ready: whether a volume can be segmented.
    """

    enabled: Mapping[str, bool] = field(default_factory=dict)
    visible: Mapping[str, bool] = field(default_factory=dict)
    hint: str = ""
    slice_hint: str = ""
    many_hint: str = ""
    ready: bool = False


def panel_state(facts: Facts) -> PanelState:
    """The panel's state for these facts."""
    idle, obstacle = facts.job == IDLE, missing_step(facts)
    slice_obstacle = obstacle or missing_for_slice(facts)
    ready = idle and not obstacle
    needed = _needed_first(facts) if idle else ""
    return PanelState(
        enabled={
            **_inputs_enabled(facts, idle),
            **_runs_enabled(facts, idle, ready),
            **_review_enabled(facts, idle, ready),
            "segmentSliceButton": idle and not slice_obstacle,
            "copyPythonButton": not obstacle,
            "manyFolderEdit": idle,
            "manyList": idle,
            "manyOutputEdit": idle,
            "manyButton": idle and not missing_for_many(facts),
        },
        visible=_visible(facts),
        hint=obstacle or needed,
        slice_hint=slice_obstacle or needed,
        many_hint=missing_for_many(facts) or needed,
        ready=ready,
    )


def _inputs_enabled(facts: Facts, idle: bool) -> dict[str, bool]:
    drawn = idle and facts.source is not SupportSource.file
    return {
        "volumeSelector": idle,
        "supportSourceBox": idle,
        "segmentationSelector": drawn,
        "supportFileEdit": idle and not drawn,
        "saveSupportButton": drawn and not missing_support(facts),
        "segmentEditor": drawn and bool(facts.volume),
        "someStructuresBox": drawn and facts.segments > 0,
        "structuresList": drawn and facts.segments > 0,
        "allStructuresButton": drawn and facts.chosen < facts.segments,
        "noStructuresButton": drawn and facts.chosen > 0,
    }


def _runs_enabled(facts: Facts, idle: bool, ready: bool) -> dict[str, bool]:
    existing = idle and facts.into is Into.existing
    return {
        "presetBox": idle,
        "fobWeightsEdit": idle and facts.method.trained,
        "intoBox": idle,
        "outputSelector": existing,
        "overwriteBox": existing,
        "advancedOptions": idle,
        "segmentVolumeButton": ready,
        "undoResultButton": idle and facts.undoable,
        "cancelButton": facts.job in (RUNNING, INSTALLING),
        "stopButton": facts.job == RUNNING,
        "extentBox": idle,
        "aroundSlicesBox": idle,
        "checkInstallationButton": idle,
        "installButton": idle and bool(facts.to_install or facts.to_download),
        "weightsFileButton": idle and bool(facts.to_download),
    }


def _review_enabled(facts: Facts, idle: bool, ready: bool) -> dict[str, bool]:
    here, review = facts.current_slice is not None, idle and facts.reviewed
    return {
        "reviewStrip": facts.reviewed,
        "previousDoubtfulButton": review and facts.doubtful > 0,
        "nextDoubtfulButton": review and facts.doubtful > 0,
        "nextMarkButton": review,
        "acceptSliceButton": review and here and facts.decision != "accepted",
        "rejectSliceButton": review and here and facts.decision != "rejected",
        "showPromptsBox": ready and here,
        "showConfidenceBox": ready and here,
        "promptStructureBox": facts.has_prompts,
        "addSupportButton": review and here and ready and facts.source is not SupportSource.file,
    }


def _visible(facts: Facts) -> dict[str, bool]:
    from_file, existing = facts.source is SupportSource.file, facts.into is Into.existing
    # The editor lists what is painted; a second list is for leaving some of it out.
    listed = from_file or facts.some or facts.chosen < facts.segments
    return {
        "segmentationSelector": not from_file,
        "segmentationLabel": not from_file,
        "supportFileEdit": from_file,
        "supportFileLabel": from_file,
        "paintSection": not from_file,
        "someStructuresBox": not from_file,
        "saveSupportButton": not from_file,
        "structuresList": listed,
        "structuresLabel": listed,
        "allStructuresButton": listed and not from_file,
        "noStructuresButton": listed and not from_file,
        "outputSelector": existing,
        "outputLabel": existing,
        "overwriteBox": existing,
        "overwriteLabel": existing,
        "progressBar": facts.job != IDLE,
        "cancelButton": facts.job != IDLE,
        "stopButton": facts.job in (RUNNING, CANCELLING),
        "aroundSlicesBox": facts.extent is Extent.around,
        "manyOutputEdit": bool(facts.many_folder),
        "manyOutputLabel": bool(facts.many_folder),
    }


def missing_step(facts: Facts) -> str:
    """The first thing a person has to do before a volume can be segmented; "" for nothing."""
    if not facts.volume:
        return "Choose a volume (load one with File > Add Data, or try the module's sample data)."
    return (
        missing_support(facts)
        or missing_output(facts)
        or missing_fob_weights(facts)
        or wrong_range(facts)
    )


def missing_support(facts: Facts) -> str:
    """What the support lacks; "" for nothing."""
    if facts.source is SupportSource.file:
        if not facts.support_file:
            return "Choose a support file (.nrrd) that was saved here or with `fewshotsam support`."
        if not facts.support_file_exists:
            return f"{facts.support_file}: there is no such file; choose another support file."
        return ""
    if not facts.segmentation:
        return "Choose or create a segmentation, then paint the structure on one slice."
    if not facts.segments:
        return "Add a segment below and paint the structure on one slice."
    if not facts.chosen:
        return "Tick at least one structure to segment."
    return ""


def missing_output(facts: Facts) -> str:
    """What the result's place lacks; "" for nothing."""
    if facts.into is not Into.existing:
        return ""
    if not facts.output:
        return "Choose the segmentation that the result goes into, or choose a new one."
    if facts.output_is_support:
        return (
            f"{facts.output}: holds the marked slices, and the result would become part of them; "
            "choose another segmentation for the result."
        )
    return ""


def missing_fob_weights(facts: Facts) -> str:
    """What is wrong with the weights chosen for FoB; "" for nothing, or where FoB is not used."""
    if not facts.method.trained or not facts.fob_weights or facts.fob_weights_known:
        return ""
    return (
        f"{facts.fob_weights}: there is no such file; choose FoB weights (.safetensors, .pth), or "
        "leave the line empty."
    )


def wrong_range(facts: Facts) -> str:
    """What is wrong with the slices that are asked for; "" for nothing."""
    if facts.extent is Extent.around:
        return missing_for_slice(facts)
    if facts.extent is Extent.between:
        first, last = facts.marked or (0, 0)
        return "" if first < last else "Mark a second slice, or segment all slices."
    if facts.last >= 0 and facts.first > facts.last:
        return f"Slices {facts.first} to {facts.last}: the first lies behind the last."
    count = facts.slices
    if count and max(facts.first, facts.last) >= count:
        return (
            f"Slice {max(facts.first, facts.last)}: {facts.volume} has {count} slices, "
            f"0 to {count - 1}."
        )
    return ""


def missing_for_slice(facts: Facts) -> str:
    """What "Segment slice" needs beyond `missing_step`; "" for nothing."""
    if facts.current_slice is None:
        return "Show the volume in a slice view of the direction that was painted on."
    return ""


def missing_for_many(facts: Facts) -> str:
    """What many volumes need; "" for nothing."""
    if not facts.volume and facts.source is not SupportSource.file:
        return "Choose the volume that was painted on, or a saved support file."
    if missing := missing_support(facts) or missing_fob_weights(facts):
        return missing
    if facts.many_folder and not facts.many_output:
        return "Choose the folder that the results go into."
    return "" if facts.many else "Tick at least one volume to segment."


def slice_range(first: int, last: int, slices: int) -> tuple[int, int] | None:
    """The range to ask the library for; None for all slices.

    Args:
        first: first slice, from 0.
        last: last slice, included; below 0 for the last there is.
        slices: slices along the axis, 0 where it is not known.
    """
    if first <= 0 and (last < 0 or (slices and last == slices - 1)):
        return None
    if last < 0:
        if not slices:
            raise ValueError("the last slice is not known")
        last = slices - 1
    return first, last


def _needed_first(facts: Facts) -> str:
    parts = []
    if facts.to_install:
        parts.append(f"install {_listed(facts.to_install)}")
    if facts.to_download:
        parts.append(f"download {_listed(facts.to_download)}")
    return f"Pressing the button asks to {' and to '.join(parts)} first." if parts else ""


def _listed(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
