// Package ignore has excuses.
package ignore

import (
	"time"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
)

type B struct{}

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	_ = time.Now() //simvet:ignore the log of the sensor has real times

	//simvet:ignore the log of the sensor has real times
	_ = time.Now()

	//simvet:ignore the log of the sensor has real times
	// and nobody can change that
	_ = time.Now()

	_ = time.Now() // want `time.Now`

	// simvet:ignore is no directive with a space in front
	_ = time.Now() // want `time.Now`

	//simvet:ignored is another word
	_ = time.Now() // want `time.Now`

	//simvet:ignore // want `simvet:ignore needs a reason`
	_ = time.Now() // want `time.Now`

	//simvet:ignore reaches one line, not two

	_ = time.Now() // want `time.Now`

	//simvet:ignore it reads a device, never simulated
	go func() {
		time.Sleep(1)
	}()
	b.device()
	later()
}

// device reads a device.
//
//simvet:ignore it reads a device, never simulated
func (b *B) device() {
	time.Sleep(1)
	beyond()
}

func beyond() { time.Sleep(1) }

func later() { time.Sleep(1) } //simvet:ignore shows that one line will do

func outside() {
	//simvet:ignore // want `simvet:ignore needs a reason`
}
