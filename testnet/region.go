package testnet

import (
	"fmt"
	"slices"
	"time"
)

// A Region is a place in the world, by the name that the Azure cloud has for
// it. Known are, and AllRegions returns:
//
//	eastus              Virginia
//	westus              California
//	canadacentral       Toronto
//	brazilsouth         São Paulo
//	northeurope         Ireland
//	westeurope          Netherlands
//	germanywestcentral  Frankfurt
//	southafricanorth    Johannesburg
//	uaenorth            Dubai
//	centralindia        Pune
//	southeastasia       Singapore
//	eastasia            Hong Kong
//	japaneast           Tokyo
//	australiaeast       Sydney
type Region string

// AllRegions returns the known regions. The slice is the caller's.
func AllRegions() []Region { return slices.Clone(regions[:]) }

// regions are the rows and columns of measured.
var regions = [...]Region{
	"eastus", "westus", "canadacentral", "brazilsouth", "northeurope", "westeurope", "germanywestcentral",
	"southafricanorth", "uaenorth", "centralindia", "southeastasia", "eastasia", "japaneast", "australiaeast",
}

// measured are median round-trip times in milliseconds, as published: a row is
// where the probes come from, a column where they go to. Source: Microsoft,
// "Azure network round-trip latency statistics", monthly percentile P50, the 30
// days ending on July 30, 2026. CC BY 4.0, an excerpt.
//
//	https://learn.microsoft.com/en-us/azure/networking/azure-network-latency
var measured = [len(regions)][len(regions)]int{
	{0, 69, 18, 117, 71, 83, 94, 219, 174, 198, 224, 202, 162, 201},
	{67, 0, 69, 169, 133, 145, 152, 273, 234, 218, 170, 148, 108, 140},
	{18, 69, 0, 129, 76, 90, 97, 230, 175, 201, 222, 201, 160, 202},
	{118, 169, 129, 0, 172, 185, 198, 321, 277, 304, 331, 307, 262, 295},
	{73, 133, 77, 172, 0, 17, 27, 172, 128, 147, 176, 215, 225, 263},
	{85, 146, 90, 185, 17, 0, 11, 166, 111, 140, 169, 201, 233, 265},
	{94, 151, 97, 196, 26, 11, 0, 165, 118, 139, 166, 192, 235, 266},
	{220, 272, 230, 321, 172, 166, 166, 0, 103, 130, 177, 210, 247, 328},
	{176, 236, 175, 274, 121, 111, 100, 103, 0, 32, 83, 113, 151, 173},
	{201, 217, 201, 303, 146, 139, 140, 131, 32, 0, 53, 87, 122, 145},
	{224, 170, 222, 330, 176, 169, 166, 177, 83, 53, 0, 36, 72, 95},
	{204, 148, 200, 306, 212, 203, 193, 211, 113, 88, 36, 0, 49, 122},
	{162, 107, 160, 262, 227, 234, 236, 251, 152, 122, 72, 49, 0, 103},
	{202, 140, 202, 295, 263, 264, 267, 328, 172, 144, 95, 121, 104, 0},
}

const (
	// withinRegion is not measured: the same source says only that it is less
	// than 2 ms between the zones of a region.
	withinRegion = time.Millisecond
	// regionJitter is the sigma of the latency between two nodes.
	regionJitter = 0.05
)

// RoundTrip returns the median round-trip time between two regions, the same
// in both directions, and whether both are known.
//
// The times are those that Microsoft measured in its own network over the 30
// days to July 30, 2026 and publishes as
// https://learn.microsoft.com/en-us/azure/networking/azure-network-latency
// (P50). The two directions, which are measured apart and differ little, are
// averaged. Inside of a region it is 1 ms, which is an assumption. As in the
// Internet, a detour is now and then shorter than the way.
func RoundTrip(a, b Region) (time.Duration, bool) {
	i, j := slices.Index(regions[:], a), slices.Index(regions[:], b)
	if i < 0 || j < 0 {
		return 0, false
	}
	if i == j {
		return withinRegion, true
	}
	return time.Duration(measured[i][j]+measured[j][i]) * time.Millisecond / 2, true
}

// Regions spreads the nodes over regions, one after the other: node i is in
// names[i%len(names)], or of all regions if none is named. To have more nodes
// in one of them, name it more than once. What it returns gives the link
// between two nodes.
//
// The latency of a link is, in the median, half of RoundTrip; it varies
// log-normally with sigma 0.05, so that nineteen of twenty draws are within 10%
// of that. The link neither loses anything nor has a limit: to change that,
// wrap the function.
//
// It panics if a region is not known.
func Regions(names ...Region) func(from, to int) Link {
	if len(names) == 0 {
		names = regions[:]
	}
	links := make([][]Link, len(names))
	for i, a := range names {
		for _, b := range names {
			trip, ok := RoundTrip(a, b)
			if !ok {
				panic(unknownRegion(a, b))
			}
			links[i] = append(links[i], Link{Latency: LogNormal(trip/2, regionJitter)})
		}
	}
	return func(from, to int) Link { return links[from%len(links)][to%len(links)] }
}

// unknownRegion says which of two is the first that is not known.
func unknownRegion(a, b Region) string {
	if slices.Contains(regions[:], a) {
		a = b
	}
	return fmt.Sprintf("testnet: region %q is not known, want one of %v", string(a), regions)
}
