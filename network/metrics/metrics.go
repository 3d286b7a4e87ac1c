// Package metrics exposes a node to Prometheus. The node itself knows nothing
// of it: a [Collector] asks for its state whenever it is scraped, so that
// metrics cost nothing in between.
//
//	registry.MustRegister(metrics.New(node))
//
// Labels are services and causes, never peers: their number is bounded.
package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/plexus-net/plexus/network"
)

// A Source is what is observed: a *network.Node.
type Source interface{ State() network.State }

// A Collector is a [prometheus.Collector] of one node. Register it with a
// registry of your own; nodes in one process are told apart by wrapping the
// registry with prometheus.WrapRegistererWith.
type Collector struct {
	source Source

	conns, readOnly, queued, buffered *prometheus.Desc
	bytes, messages, rtt, counter     *prometheus.Desc
}

// New makes the collector of a node.
func New(source Source) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("plexus_"+name, help, labels, nil)
	}
	return &Collector{source: source,
		conns:    desc("connections", "Open connections.", "direction"),
		readOnly: desc("connections_read_only", "Open connections that may not be written to."),
		queued:   desc("service_queued", "Events and local messages that wait for a behaviour.", "service", "name"),
		buffered: desc("buffered_bytes", "Bytes that wait to be written to connections."),
		bytes:    desc("open_connections_bytes", "Bytes that the open connections have carried.", "direction"),
		messages: desc("open_connections_messages", "Messages that the open connections have carried.", "direction"),
		rtt:      desc("connection_rtt_seconds", "Mean round-trip time of the open connections."),
		counter:  desc("events_total", "What the node has counted, by what it is.", "event"),
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.conns, c.readOnly, c.queued, c.buffered, c.bytes, c.messages, c.rtt, c.counter} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	st := c.source.State()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	byDirection := map[string]int{"incoming": 0, "outgoing": 0}
	var sent, received, messagesOut, messagesIn uint64
	var readOnly, buffered, measured int
	var rtt float64
	for i := range st.Conns {
		k := &st.Conns[i]
		byDirection[k.Direction.String()]++
		sent, received = sent+k.BytesSent, received+k.BytesReceived
		messagesOut, messagesIn = messagesOut+k.MessagesSent, messagesIn+k.MessagesReceived
		buffered += k.Queued
		if k.ReadOnly {
			readOnly++
		}
		if k.RTT > 0 {
			rtt += k.RTT.Seconds()
			measured++
		}
	}
	for direction, n := range byDirection {
		gauge(c.conns, float64(n), direction)
	}
	gauge(c.readOnly, float64(readOnly))
	gauge(c.buffered, float64(buffered))
	gauge(c.bytes, float64(sent), "sent")
	gauge(c.bytes, float64(received), "received")
	gauge(c.messages, float64(messagesOut), "sent")
	gauge(c.messages, float64(messagesIn), "received")
	if measured > 0 {
		gauge(c.rtt, rtt/float64(measured))
	}
	for _, s := range st.Services {
		gauge(c.queued, float64(s.Queued), strconv.Itoa(int(s.ID)), s.Name)
	}
	for name, n := range st.Counters {
		ch <- prometheus.MustNewConstMetric(c.counter, prometheus.CounterValue, float64(n), name)
	}
}
