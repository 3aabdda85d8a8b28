"""PPO's arithmetic for standard networks on a CPU, compiled.

In: a torch policy. Out: actions for many environments, and updates of the policy's parameters.

Stable-Baselines3 spends its time between the operations of torch: a minibatch of 64 rows is a
hundred calls of a few microseconds each around a tenth of a millisecond of arithmetic. Here a
minibatch is one compiled call. The parameters stay those of the torch policy: its tensors, and the
moments of its Adam optimiser, are views of flat arrays that are updated in place.

Reading order: `elementary -> products -> network -> heads -> loss -> gradient -> step -> epoch`,
`act -> advantage -> market -> binding -> trainer`.
"""
