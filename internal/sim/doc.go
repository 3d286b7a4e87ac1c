// Package sim is a world in which networks run on virtual time: one clock, one
// loop, one source of chance.
//
// A [World] has hosts. Each [Host] is the environment of a node ([env.Env]) and
// brings a transport, so that network.New, given that transport, makes a node
// that lives in the world. Time stands still while code runs, and leaps to the
// next event when nothing is left to do.
//
//	main ── parks ──> loop: tasks, then the next event ──> main is ready
//	                    │
//	                    └── a task parks ──> another goroutine goes on with the loop
//
// Code may block in env.Wait. Every goroutine that does is a coroutine: exactly
// one goroutine runs at any moment, and hands over where it waits. So nothing
// is left to the scheduler of Go, and a seed decides all that happens.
//
// What nobody but the loop can know has to come through the environment: a
// goroutine that blocks elsewhere stops the world.
package sim
