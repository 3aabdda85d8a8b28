"""The decorators of the compiled trainer. In: a pure function. Out: it, compiled and cached."""

from ploutos.compiled import Apart, compiler

_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}

# A product and a sum may be rounded once instead of twice; nothing else is reordered.
fused = compiler("learner", **_OPTIONS)
# For what is called within a loop over samples, and must become a part of it.
within = compiler("learner", forceinline=True, **_OPTIONS)
# For sums over samples: in lanes, so in another order than written.
summed = compiler("learner", error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
# For loops over many arrays that do not overlap, sums in lanes among them.
apart = compiler(
    "learner", error_model="numpy", fastmath={"contract", "reassoc"}, pipeline_class=Apart
)
