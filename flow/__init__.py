"""The steps of the command line as functions: check, compile, simulate, evaluate and so on."""

from .build import Build, build
from .check import Check, check
from .compile import (
    Multipliers,
    Target,
    board_json,
    compile_model,
    cost_oracle,
    parse_budget,
    parse_encodings,
    parse_winograd,
    plan,
)
from .compress import compress
from .compression import Compression, Stage
from .evaluate import Evaluation, evaluate
from .explore import explore
from .finding import Finding
from .front import Front
from .load import Model, Quantization, is_floats, load
from .loading import Loading, load_weights
from .pricing import kept
from .project import Project
from .report import Report, gather, report
from .search import Agents, Effort, Knobs, search
from .simulate import Simulation, simulate

__all__ = ["Agents", "Build", "Check", "Compression", "Effort", "Evaluation", "Finding", "Front",
           "Knobs", "Loading", "Model", "Multipliers", "Project", "Quantization", "Report",
           "Simulation", "Stage", "Target", "board_json", "build", "check", "compile_model",
           "compress", "cost_oracle", "evaluate", "explore", "gather", "is_floats", "kept",
           "load", "load_weights", "parse_budget", "parse_encodings", "parse_winograd", "plan",
           "report", "search", "simulate"]
