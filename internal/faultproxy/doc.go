// Package faultproxy stands between two ends on the loopback and breaks what
// connects them, for tests: [Proxy] for TCP, [Relay] for UDP.
//
//	p := faultproxy.TCP(t, listener.Addr().String()) // closed when t ends
//	c, err := net.Dial("tcp", p.Addr())              // instead of the target
//
//	p.BreakAt(faultproxy.Up, 1000, faultproxy.Reset) // after 1000 more bytes to the target
//	p.Break(faultproxy.Close)                        // all connections, now
//	p.Blackhole(300*time.Millisecond, 0)             // nothing goes through, then all of it
//	p.Stall(faultproxy.Down); p.Heal()               // the same, in one direction, by hand
//	p.Refuse(true)                                   // new connections, as if nobody listened
//	p.SetPace(faultproxy.Pace{Delay: 20 * time.Millisecond, Rate: 1 << 20})
//	p.Conns()[0].Break(faultproxy.HalfUp)            // one of them
//
// A storm is many faults, one after the other. Its choices are made beforehand
// and are the same for the same seed:
//
//	strokes := faultproxy.Plan{Cuts: 200, MinBytes: 1, MaxBytes: 1 << 20}.Strokes(rng)
//	storm := p.Storm(strokes)
//	... <-storm.Done(), or storm.Applied()
//
// A relay drops, repeats, reorders and delays datagrams, and changes the port
// that the target sees, as a NAT does:
//
//	r := faultproxy.UDP(t, target, seed)
//	r.SetWeather(faultproxy.Weather{Drop: 0.1, Duplicate: 0.01})
//	r.Rebind()
//
// Directions are those of a client: Up is from the client to the target. Faults
// that count bytes need no time, and strike in the middle of a message where
// they are told to. All methods may be called from any goroutine and return at
// once, but for Close and Refuse, which wait for what they end.
package faultproxy
