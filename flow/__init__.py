"""The steps of the command line as functions: check, compile, simulate, evaluate and build."""

from .build import Build, build
from .check import Check, check
from .compile import Multipliers, Target, board_json, compile_model, parse_budget, plan
from .evaluate import Evaluation, evaluate
from .load import Model, Quantization, load
from .project import Project
from .simulate import Simulation, simulate

__all__ = ["Build", "Check", "Evaluation", "Model", "Multipliers", "Project", "Quantization",
           "Simulation", "Target", "board_json", "build", "check", "compile_model", "evaluate",
           "load", "parse_budget", "plan", "simulate"]
