"""TensorBoard's HParams page: its table, parallel coordinates and scatter plots over the knobs of a search."""

from collections.abc import Mapping, Sequence
from typing import Any

from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, Interval, MetricInfo, MetricName, Status
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

from search.space.knobs import Knob

_ENDS = {"completed": "STATUS_SUCCESS", "stopped": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}


def experiment(knobs: Sequence[Knob], metrics: Mapping[str, str], now_s: float) -> Summary:
    """What the columns are: written once, beside all runs, since what a single trial says would leave out knobs it has not.

    Args:
        metrics: names people read by scalar tag.
        now_s: since 1970.
    """
    infos = [MetricInfo(name=MetricName(tag=tag), display_name=shown) for tag, shown in metrics.items()]
    made = Experiment(time_created_secs=now_s, hparam_infos=[_column(knob) for knob in knobs], metric_infos=infos)
    return _summary("_hparams_/experiment", HParamsPluginData(experiment=made, version=0))


def session_start(trial: str, values: Mapping[str, Any], time_s: float) -> Summary:
    """A trial has begun with these knobs; one that does not exist in it is left out."""
    made = SessionStartInfo(group_name=trial, start_time_secs=time_s)
    for key, value in values.items():
        if isinstance(value, bool):
            made.hparams[key].bool_value = value
        elif isinstance(value, int | float):
            made.hparams[key].number_value = value
        else:
            made.hparams[key].string_value = str(value)
    return _summary("_hparams_/session_start_info", HParamsPluginData(session_start_info=made, version=0))


def session_end(status: str, time_s: float) -> Summary:
    """A trial has ended: completed, stopped or failed."""
    made = SessionEndInfo(status=Status.Value(_ENDS[status]), end_time_secs=time_s)
    return _summary("_hparams_/session_end_info", HParamsPluginData(session_end_info=made, version=0))


def _column(knob: Knob) -> HParamInfo:
    if knob.kind != "categorical":
        return HParamInfo(
            name=knob.key, type=DataType.Value("DATA_TYPE_FLOAT64"), domain_interval=Interval(min_value=knob.low, max_value=knob.high)
        )
    kinds = {type(choice) for choice in knob.choices}
    kind = "BOOL" if kinds == {bool} else "FLOAT64" if kinds <= {int, float} else "STRING"
    return HParamInfo(name=knob.key, type=DataType.Value(f"DATA_TYPE_{kind}"))


def _summary(tag: str, data: HParamsPluginData) -> Summary:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])
