"""Menagerie: language models in Keras and the one trainer that runs them."""

from pathlib import Path

from setuptools import find_packages, setup

REQUIRES = [
    "tensorflow>=2.21,<2.22",
    "keras>=3.15.1,<3.16",
    "keras-nlp>=0.32,<0.33",
    "tensorflow-text>=2.21.1,<2.22",
    "tensorflow-datasets>=4.9.10,<5",
    "importlib-resources>=6",  # tensorflow-datasets imports it and does not declare it
    "tensorboard>=2.20,<2.22",
    "absl-py>=2.1,<3",
    "gin-config>=0.5,<0.6",
    "numpy>=2.0,<3",
    "tokenizers>=0.21",
    "sentencepiece>=0.2",
    "sacrebleu>=2.5,<3",
    "rouge-score>=0.1.2,<0.2",
    "sacremoses>=0.2,<0.3",
    "tqdm>=4.67,<5",
    "babel>=2.17,<3",
    "jinja2>=3.1,<4",
    "safetensors>=0.7,<1",
    "ml-dtypes>=0.5,<1",
]
SERVE = ["starlette>=1,<2", "uvicorn>=0.40,<1", "prometheus-client>=0.20,<1"]
LITERT = ["ai-edge-litert>=2.3,<3"]
ONNX = ["tf2onnx>=1.17,<2", "onnx>=1.23,<2", "onnxruntime>=1.32,<2"]
REPORT = ["plotly>=6,<8"]
HARNESS = ["lm-eval>=0.4.9,<0.5"]
TEST = [
    *SERVE,
    *LITERT,
    *ONNX,
    *REPORT,
    *HARNESS,
    "pytest>=9",
    "pytest-xdist>=3.6",
    "pyyaml>=6",
    "hypothesis>=6.100",
    "httpx2>=2.12",
    "jax>=0.10,<0.11",
    "openai>=3,<4",
    "tensorflow-serving-api>=2.21,<2.22",
]
BENCHMARK = TEST_HF = ["torch==2.13.0", "transformers>=5,<6"]
DEV = ["ruff>=0.17,<0.18", "mypy>=2.4,<3", "pre-commit>=4"]

setup(
    name="menagerie",
    version="0.1.0",
    description=__doc__,
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["zoo", "zoo.*", "trainers", "trainers.*"]),
    install_requires=REQUIRES,
    extras_require={
        "serve": SERVE,
        "litert": LITERT,
        "onnx": ONNX,
        "report": REPORT,
        "harness": HARNESS,
        "test": TEST,
        "test-hf": TEST_HF,
        "dev": [*TEST, *DEV],
        "benchmark": BENCHMARK,
    },
)
