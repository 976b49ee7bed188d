"""Names of experiments and models: MLflow's own rules, said before a run."""

import pytest
from mlflow.exceptions import MlflowException

from tinyllm.app.tracking.champion import find_versions
from tinyllm.app.tracking.names import check_names
from tinyllm.app.tracking.store import connect, experiment_id
from tinyllm.base.errors import ConfigError

FINE = ["tinyllm", "a b", "Война", "it's", 'the "best"', "x@y", "100%", "a.b-c_d", "-x", "x" * 256]
OF_EXPERIMENTS = ["team/tinyllm", "a:b", "..", "."]
REFUSED = ["", " ", "x" * 501]


@pytest.mark.medium
@pytest.mark.parametrize("name", FINE)
def test_fine_names_are_taken_and_found_again(workspace, name):
    check_names(name, name)
    client = connect()
    assert experiment_id(client, name) == experiment_id(client, name)
    client.create_registered_model(name)
    client.create_model_version(name, (workspace / "model").as_uri())
    assert [version.name for version in find_versions(client, name)] == [name]


@pytest.mark.medium
@pytest.mark.parametrize("name", [*OF_EXPERIMENTS, "", " ", "..x"])
def test_what_mlflow_refuses_for_a_model_is_refused_before(workspace, name):
    with pytest.raises(ConfigError, match=r"^tracking\.registered_model is "):
        check_names("fine", name)
    with pytest.raises(MlflowException):
        connect().create_registered_model(name)


@pytest.mark.medium
@pytest.mark.parametrize("name", OF_EXPERIMENTS)
def test_an_experiment_may_be_named_as_a_model_may_not(workspace, name):
    check_names(name, "fine")
    assert experiment_id(connect(), name)


@pytest.mark.parametrize("name", [*REFUSED, "x" * 257, "a\nb", "a\x00b", """both ' and \""""])
def test_names_that_no_store_would_find_again_are_refused(name):
    with pytest.raises(ConfigError, match=r"^tracking\.experiment is "):
        check_names(name, "fine")
