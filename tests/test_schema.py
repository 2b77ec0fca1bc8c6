"""The study's files: fixed bytes, exact round trips, and errors that name file, line and column."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study_builder import row, sha, write_epochs, write_predictions, write_study

from dsresearch import schema
from dsresearch.design import InputError

ABOUT = {"study_id": "s", "profile": "p", "dataset": "d", "roles": {}, "n_train": 900, "n_test": 100,
         "protocol_sha256": sha("protocol")}  # fmt: skip


def rows() -> list[dict]:
    keys = [(arm, "", "width") for arm in ("separable", "hybrid", "grouped groups=16", "grouped groups=4")]
    keys += [("separable", "seed", "width"), ("hybrid", "", "params")]
    return [row(key, trial, 7, ABOUT) for key in keys for trial in (0, 1, 10)]


def test_rows_written_are_read_back_equal(tmp_path):
    path = tmp_path / "trials.csv"
    written = [{**r, "test_nll": 0.1 + 0.2, "wd": 1e-300, "error_msg": 'a "b",\nc\r\nd'} for r in rows()]
    written[0] |= {"status": "diverged", "test_nll": None, "train_loss": float("nan"), "groups": None, "residual": True}
    schema.write_csv(path, written, schema.TRIAL_COLUMNS)
    found = schema.read_trials(path).set_index(["arm", "control_kind", "match", "trial"])
    for record in written:
        back = found.loc[tuple(record[name] for name in schema.KEY[1:])]
        for name, value in record.items():
            if name in back:
                same = pd.isna(back[name]) if value is None or value != value else back[name] == value
                assert same, name


def test_bytes_do_not_depend_on_the_order_of_rows_nor_on_what_made_them(tmp_path):
    shuffled = rows()
    random.Random(0).shuffle(shuffled)
    schema.write_csv(tmp_path / "a.csv", rows(), schema.TRIAL_COLUMNS)
    schema.write_csv(tmp_path / "b.csv", shuffled, schema.TRIAL_COLUMNS)
    schema.write_csv(tmp_path / "c.csv", schema.read_trials(tmp_path / "a.csv"), schema.TRIAL_COLUMNS)
    first = (tmp_path / "a.csv").read_bytes()
    assert first == (tmp_path / "b.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()
    assert b"\r" not in first
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.csv", "b.csv", "c.csv"], (
        "nothing temporary is left"
    )


def test_rows_stand_in_the_papers_order_then_by_name_and_number(tmp_path):
    schema.write_csv(tmp_path / "trials.csv", rows(), schema.TRIAL_COLUMNS)
    found = schema.read_trials(tmp_path / "trials.csv")
    arms = list(dict.fromkeys(zip(found["arm"], found["control_kind"], found["match"], strict=True)))
    assert arms == [("separable", "", "width"), ("separable", "seed", "width"), ("hybrid", "", "width"),
                    ("hybrid", "", "params"), ("grouped groups=4", "", "width"),
                    ("grouped groups=16", "", "width")]  # fmt: skip
    assert list(found["trial"][:3]) == [0, 1, 10]


def test_writing_what_does_not_fit_the_columns_is_a_fault_of_the_writer(tmp_path):
    good = rows()[0]
    for name, value in (("test_wrong", 7.5), ("role", "rivale"), ("test_nll", float("inf")), ("arm", ""),
                        ("params_sha256", "abc"), ("trial", -1)):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}="):
            schema.write_csv(tmp_path / "trials.csv", [{**good, name: value}], schema.TRIAL_COLUMNS)
    with pytest.raises(ValueError, match="accuracy"):
        schema.write_csv(tmp_path / "trials.csv", [{**good, "accuracy": 1}], schema.TRIAL_COLUMNS)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot be written .* allowed: a writable folder"):
        schema.write_csv(tmp_path / "file" / "trials.csv", rows(), schema.TRIAL_COLUMNS)


def edited(tmp_path, column, value, line=3):
    """A good file with one cell of one line changed; returns its path."""
    path = tmp_path / "trials.csv"
    schema.write_csv(path, rows(), schema.TRIAL_COLUMNS)
    lines = path.read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[list(schema.TRIAL_COLUMNS).index(column)] = value
    lines[line - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("test_wrong", "7.00", "a whole number; percentages are derived, never stored"),
        ("test_wrong", "7%", "a whole number"),
        ("test_wrong", "-1", "a whole number"),
        ("test_wrong", "", "a whole number of pictures unless the status is failed"),
        ("test_wrong", "101", "at most n_test=100"),
        ("train_wrong", "901", "at most n_train=900"),
        ("params", "many", "a whole number"),
        ("trial", "", "not empty"),
        ("lr", "fast", "a finite number"),
        ("test_nll", "nan", "a finite number"),
        ("test_nll", "inf", "a finite number"),
        ("test_nll", "1_0", "a finite number"),
        ("residual", "True", "true or false"),
        ("role", "rivl", "did you mean 'rival'"),
        ("control_kind", "seeds", "did you mean 'seed'"),
        ("params_sha256", "12ab", "64 hexadecimal digits"),
        ("schema_version", "2", "1"),
        ("protocol_sha256", sha("another"), "one file holds one protocol"),
        ("study_id", "other", "one file holds one protocol"),
        ("profile", "other", "one file holds one protocol"),
        ("data_sha256", sha("other pictures"), "one file holds one protocol"),
    ],
)
def test_a_wrong_cell_is_named_with_file_line_and_column(tmp_path, column, value, allowed):
    path = edited(tmp_path, column, value)
    with pytest.raises(InputError) as error:
        schema.read_trials(path)
    message = str(error.value)
    assert message.startswith(f"{path}: line 3: column {column}: ")
    assert allowed in message
    assert "\n" not in message


def test_a_quoted_line_break_does_not_shift_the_line_of_an_error(tmp_path):
    path = edited(tmp_path, "test_wrong", "many", line=4)
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[list(schema.TRIAL_COLUMNS).index("error_msg")] = '"two\nlines"'
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(InputError, match="line 5: column test_wrong"):
        schema.read_trials(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("test_wrong", "test_error", 1), "line 1: column 'test_error' is not known; did you mean"),
        (lambda t: t.replace("arm,control_kind", "control_kind,arm", 1), "column 'control_kind' stands where 'arm'"),
        (lambda t: t.replace(",predictions_sha256", "", 1), "line 1: column 'predictions_sha256' is missing"),
        (lambda t: t.replace("\n", ",study_id\n", 1), "line 1: 78 columns, allowed: 77"),
        (lambda t: t.splitlines()[0] + "\n", "line 2: no rows"),
        (lambda t: "", "line 1: column 'schema_version' is missing"),
        (lambda t: t + "1,2,3\n", "line 20: 3 cells, allowed: 77"),
        (lambda t: t + t.splitlines()[1] + "\n", "line 20: columns study_id, arm, control_kind, match, trial="),
        (lambda t: t.replace("none", '"none', 1), "not CSV"),
        (lambda t: t.replace("none", "n" * 200_000, 1), "not CSV"),
    ],
    ids=["unknown", "order", "missing", "twice", "no rows", "empty", "short", "duplicate", "quote", "huge"],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, change, message):
    path = tmp_path / "trials.csv"
    schema.write_csv(path, rows(), schema.TRIAL_COLUMNS)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError) as error:
        schema.read_trials(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there(tmp_path):
    (tmp_path / "trials.csv").write_bytes(b"schema\xff")
    with pytest.raises(InputError, match="byte 6: not UTF-8"):
        schema.read_trials(tmp_path / "trials.csv")
    with pytest.raises(InputError, match="cannot be read"):
        schema.read_trials(tmp_path / "nothing.csv")


def test_runs_are_read_back(tmp_path):
    write_study(tmp_path)
    found = schema.read_runs(tmp_path / "runs.csv")
    assert list(found.columns) == list(schema.RUN_COLUMNS)
    assert set(found["git_sha"]) == {"0123456789abcdef"}
    assert not found["git_dirty"].any()


def test_parquet_files_keep_their_types_and_their_bytes(tmp_path):
    wrong = {("hybrid", "", "width"): [3, 4], ("separable", "", "width"): [5, 6]}
    write_epochs(tmp_path, wrong)
    first = (tmp_path / "epochs.parquet").read_bytes()
    write_epochs(tmp_path, dict(reversed(wrong.items())))
    assert (tmp_path / "epochs.parquet").read_bytes() == first
    epochs = schema.read_parquet(tmp_path / "epochs.parquet", schema.EPOCH_COLUMNS)
    assert list(epochs["arm"].unique()) == ["separable", "hybrid"]
    write_predictions(tmp_path, {key: [[1, 2], [2, 2]] for key in wrong}, [1, 2])
    predictions = schema.read_parquet(tmp_path / "predictions.parquet", schema.PREDICTION_COLUMNS)
    assert {name: str(predictions[name].dtype) for name in ("image_id", "label", "p_true")} == {
        "image_id": "uint16", "label": "uint8", "p_true": "float16",
    }  # fmt: skip


def test_the_numbers_of_pictures_take_next_to_nothing_in_a_committed_file(tmp_path):
    pictures, models = 5000, 6
    ids = np.tile(np.arange(50000, 50000 + pictures, dtype=np.uint16), models)
    table = pa.table({"image_id": ids, "p_true": np.linspace(0, 1, len(ids)).astype(np.float16)})
    schema.write_table(tmp_path / "predictions.parquet", table)
    assert pq.read_table(tmp_path / "predictions.parquet").equals(table)
    numbers = pq.ParquetFile(tmp_path / "predictions.parquet").metadata.row_group(0).column(0)
    assert numbers.total_compressed_size < len(ids) / 20  # a dictionary of them: 14 bits each, seen 0.9 bytes


def test_a_wrong_parquet_file_is_named(tmp_path):
    write_epochs(tmp_path, {("hybrid", "", "width"): [3]})
    path = tmp_path / "epochs.parquet"
    frame = schema.read_parquet(path, schema.EPOCH_COLUMNS)
    frame.assign(test_wrong=frame["test_wrong"] / 100).to_parquet(path)
    with pytest.raises(InputError, match=r"epochs\.parquet: column test_wrong: type double is not allowed: int32"):
        schema.read_parquet(path, schema.EPOCH_COLUMNS)
    frame.drop(columns="lr").to_parquet(path)
    with pytest.raises(InputError, match="column 'lr' is missing"):
        schema.read_parquet(path, schema.EPOCH_COLUMNS)
    path.write_bytes(b"PAR1 nothing else")
    with pytest.raises(InputError, match="not a Parquet file"):
        schema.read_parquet(path, schema.EPOCH_COLUMNS)


def test_the_columns_of_a_trial_are_those_of_the_contract():
    contract = """schema_version,study_id,arm,control_kind,match,trial,protocol_sha256,profile,dataset,setup,role,
        eq_class,
        groups,order,residual,activation,normalise,kernel,width,depth,multiplier,split_protocol,split_seed,init_seed,
        order_seed,aug_seed,bit_flip,transport,n_train,n_test,epochs,steps,batch_size,optimizer,lr,momentum,wd,schedule,
        warmup,augment,dtype,params,stats,macs_fwd,test_wrong,test_nll,train_wrong,train_loss,status,error_msg,exec_mode,
        trial_batch,threads,device_kind,device_count,matmul_precision,xla_flags,jax,jaxlib,flax,python,platform,cell_id,
        data_sha256,split_sha256,init_sha256,params_sha256,predictions_sha256"""
    since = {"network", "factor", "image", "options", "fall", "every", "smoothing", "polyak"} | {
        "kernels"
    }  # issues 5, 3: all optional
    assert all(schema.TRIAL_COLUMNS[name].optional for name in since)
    assert [name for name in schema.TRIAL_COLUMNS if name not in since] == "".join(contract.split()).split(",")


def test_every_column_says_what_it_means():
    for columns in (schema.TRIAL_COLUMNS, schema.RUN_COLUMNS, schema.EPOCH_COLUMNS, schema.PREDICTION_COLUMNS):
        assert all(column.meaning for column in columns.values())


def test_a_class_beyond_the_stored_type_is_refused_and_not_wrapped():
    column = schema.PREDICTION_COLUMNS["pred"]
    kept = schema.narrow(column, np.array([0, 255], np.int32))
    assert (kept.dtype, kept.tolist()) == (np.uint8, [0, 255])
    with pytest.raises(ValueError, match="300 is not allowed: what uint8 holds, predicted class"):
        schema.narrow(column, np.array([3, 300], np.int32))


def test_the_largest_data_set_is_what_the_stored_types_tell_apart():
    most = {"image_id": schema.MOST_PICTURES, "label": schema.MOST_CLASSES, "pred": schema.MOST_CLASSES}
    assert {name: np.iinfo(schema.PREDICTION_COLUMNS[name].stored).max + 1 for name in most} == most
