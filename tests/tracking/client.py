"""What MLflow's and TensorBoard's own clients see, as JSON on standard output.

usage: client.py run URL EXPERIMENT        the newest run of an experiment
       client.py model URL NAME VERSION    a version, downloaded
       client.py events FOLDER             the numbers in TensorBoard's event files
"""

import hashlib
import json
import pathlib
import sys
import tempfile


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def run(url, experiment):
    from mlflow import MlflowClient

    client = MlflowClient(url)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"])
    run = runs[0]
    history = {key: [m.value for m in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}

    def files(folder=None):
        for entry in client.list_artifacts(run.info.run_id, folder):
            if entry.is_dir:
                yield from files(entry.path)
            else:
                yield entry.path

    sums = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in list(files()):
            sums[name] = sha256(client.download_artifacts(run.info.run_id, name, folder))
    return {"name": run.info.run_name, "status": run.info.status, "runs": len(runs), "params": run.data.params,
            "metrics": history, "files": sums}


def model(url, name, version):
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(url)
    client = MlflowClient(url)
    found = client.get_model_version(name, version)
    registered = client.get_registered_model(name)
    info = mlflow.models.get_model_info(f"models:/{name}/{version}")
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=folder)
        sums = {entry.name: sha256(entry) for entry in pathlib.Path(path).iterdir()}
    versions = [int(v.version) for v in client.search_model_versions(f"name='{name}'")]
    return {"aliases": registered.aliases, "description": found.description, "tags": found.tags,
            "status": found.status, "files": sums, "versions": sorted(versions),
            "inputs": info.signature.inputs.input_names(), "outputs": info.signature.outputs.input_names(),
            "flavors": list(info.flavors)}


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    scalars = {tag: [[e.step, e.value] for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    images = {tag: [[e.step, e.width, e.height] for e in found.Images(tag)] for tag in found.Tags()["images"]}
    return {"scalars": scalars, "images": images}


if __name__ == "__main__":
    what = {"run": run, "model": model, "events": events}[sys.argv[1]]
    print(json.dumps(what(*sys.argv[2:])))
