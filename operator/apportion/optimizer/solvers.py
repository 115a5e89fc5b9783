"""PuLP itself: builds a program, solves it with HiGHS or CBC, and reads what is really there. Runs in the worker.

A relaxation goes to HiGHS as arrays: PuLP, which hands over column by column and row by row, takes much longer than it.
"""

import contextlib
import warnings

import highspy
import numpy as np
import pulp

from apportion.optimizer.program import Answer, Limits, Program

FEASIBLE = 2  # highspy's primal_solution_status of a solution that keeps its rows


def run(program: Program, limits: Limits, folder: str) -> Answer:
    """Solves with the method named; `folder` takes CBC's files. Objective constants are nobody's: there are none."""
    if not len(program.cost):
        return Answer(np.zeros(0), optimal=True, bound=0.0, prices=np.zeros(len(program.right)))
    if limits.method == "highs" and not limits.mip:
        return _relaxed(program, limits)
    with warnings.catch_warnings():
        # PuLP 3.3 announces PuLP 4 at every turn; where the user made warnings errors, that would be no plan.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = _build(program, limits.mip)
        return _cbc(model, program, limits, folder) if limits.method == "cbc" else _highs(model, program, limits)


class _Model:
    def __init__(self, lp: pulp.LpProblem, variables: list[pulp.LpVariable], rows: dict[int, pulp.LpConstraint]):
        self.lp, self.variables, self.rows = lp, variables, rows


def _build(program: Program, mip: bool) -> _Model:
    lp = pulp.LpProblem("apportion", pulp.LpMaximize)
    variables = [
        lp.add_variable(name, low, high, pulp.LpInteger if mip and whole else pulp.LpContinuous)
        for name, low, high, whole in zip(
            program.names, program.lower.tolist(), program.upper.tolist(), program.integer.tolist(), strict=True
        )
    ]
    # Every variable is in the objective, if with 0: so the problem knows those that no row holds.
    lp.setObjective(pulp.LpAffineExpression(list(zip(variables, program.cost.tolist(), strict=True))))
    terms: list[list[tuple[pulp.LpVariable, float]]] = [[] for _ in program.row_names]
    for row, column, entry in zip(program.row.tolist(), program.column.tolist(), program.entry.tolist(), strict=True):
        terms[row].append((variables[column], entry))
    rows = {}
    for at, (name, right, equal) in enumerate(
        zip(program.row_names, program.right.tolist(), program.equal.tolist(), strict=True)
    ):
        if terms[at]:
            sense = pulp.LpConstraintEQ if equal else pulp.LpConstraintLE
            rows[at] = pulp.LpConstraint(pulp.LpAffineExpression(terms[at]), sense, f"r{at}/{name}", right)
            lp.addConstraint(rows[at])
    return _Model(lp, variables, rows)


def _highs(model: _Model, program: Program, limits: Limits) -> Answer:
    solver = pulp.HiGHS(
        msg=False, gapRel=limits.gap, gapAbs=1e-9, threads=1, timeLimit=limits.seconds,
        mip_max_nodes=limits.nodes, random_seed=0, mip_feasibility_tolerance=1e-7,
    )  # fmt: skip
    if np.isfinite(limits.enough):
        # PuLP hands HiGHS the negated objective to minimise.
        solver.optionsDict["objective_target"] = -limits.enough
    # PuLP does not know HiGHS's status "solution limit" (nodes); the solution itself is read below.
    with contextlib.suppress(KeyError):
        model.lp.solve(solver)
    highs = model.lp.solverModel
    if (nothing := _without_solution(highs)) is not None:
        return nothing
    order = {variable.name: at for at, variable in enumerate(model.lp.variables())}
    values = np.array(highs.getSolution().col_value)[[order[variable.name] for variable in model.variables]]
    bound = -highs.getInfo().mip_dual_bound
    return Answer(values, _is_optimal(highs), bound=bound if np.isfinite(bound) else None)


def _relaxed(program: Program, limits: Limits) -> Answer:
    highs = highspy.Highs()
    # On these relaxations presolve takes longer than what it saves: 0.34 s instead of 0.17 s at 10,000 columns.
    options = {"output_flag": False, "threads": 1, "time_limit": limits.seconds, "random_seed": 0, "presolve": "off"}
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(_arrays(program))
    highs.run()
    if (nothing := _without_solution(highs)) is not None:
        return nothing
    solution = highs.getSolution()
    values = np.array(solution.col_value)
    bound = float(program.cost @ values)
    return Answer(values, _is_optimal(highs), bound=bound, prices=np.array(solution.row_dual))


def _without_solution(highs: highspy.Highs) -> Answer | None:
    """Why there is none; None where there is one."""
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Answer(infeasible=True, message="HiGHS: infeasible")
    if highs.getInfo().primal_solution_status != FEASIBLE:
        return Answer(message=f"HiGHS: {status.name}")
    return None


def _is_optimal(highs: highspy.Highs) -> bool:
    return bool(highs.getModelStatus() == highspy.HighsModelStatus.kOptimal)


def _arrays(program: Program) -> highspy.HighsLp:
    """The relaxation row by row in compressed form."""
    order = np.argsort(program.row, kind="stable")
    lp = highspy.HighsLp()
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.num_col_, lp.num_row_ = len(program.cost), len(program.right)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, program.lower, program.upper
    lp.row_lower_ = np.where(program.equal, program.right, -highspy.kHighsInf)
    lp.row_upper_ = program.right
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = lp.num_col_, lp.num_row_
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(np.bincount(program.row, minlength=lp.num_row_))])
    lp.a_matrix_.index_ = program.column[order]
    lp.a_matrix_.value_ = program.entry[order]
    return lp


def _cbc(model: _Model, program: Program, limits: Limits, folder: str) -> Answer:
    solver = pulp.PULP_CBC_CMD(
        mip=limits.mip, msg=False, gapRel=limits.gap, gapAbs=1e-9, timeLimit=limits.seconds, maxNodes=limits.nodes
    )
    solver.tmpDir = folder
    model.lp.solve(solver)
    lp = model.lp
    if lp.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        # At its limit without a solution CBC says Infeasible as well: nobody may take that as a proof.
        return Answer(message=f"CBC: {pulp.LpSolution[lp.sol_status]}")
    values = np.array([variable.varValue or 0.0 for variable in model.variables])
    optimal = lp.sol_status == pulp.LpSolutionOptimal
    prices = np.zeros(0) if limits.mip else _prices(model, program)
    return Answer(values, optimal, prices=prices)


def _prices(model: _Model, program: Program) -> np.ndarray:
    """Duals by row, >= 0 for rows <=."""
    prices = np.zeros(len(program.right))
    for at, row in model.rows.items():
        prices[at] = row.pi or 0.0
    return prices
