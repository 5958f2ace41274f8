"""Where resources run: this host, under every region name that clients use."""

import platform

from serai.catalog.files import CatalogueFiles, LocationsFile, PublicIpsFile
from serai.wire.catalog import Configuration, Location, Place, PublicIp, Region
from serai.wire.common import Flavor

LOCAL = "local"
CLIENT_REGIONS = ("us-pdx-1", "us-was-1", "eu-lon-1", "eu-fra-1")
"""Regions that clients name by default or in their examples: all of them mean this host."""
HOST = "This host"
HEALTHY = "healthy"
ARCHITECTURES = {"x86": ("x86_64", "amd64"), "arm64": ("aarch64", "arm64")}
"""Flavors of processors, and what the kernel calls them."""
NO_ADDRESSES = "The host's own addresses; the operator has listed none."


class Places:
    """Locations, public addresses and the configuration made of them."""

    def __init__(self, files: CatalogueFiles) -> None:
        self._files = files

    def locations(self) -> list[Location]:
        """Every region, the default one first."""
        return self._file().locations or [
            Location(
                region=region,
                location=HOST,
                status=HEALTHY,
                flavors=processors(),
            )
            for region in (LOCAL, *CLIENT_REGIONS)
        ]

    def here(self) -> Location:
        """Where this machine is: the detected region, else the first location."""
        locations, detected = self.locations(), self._file().detected_region
        found = (location for location in locations if location.region == detected)
        return next(found, locations[0])

    def flavors(self) -> list[Flavor]:
        """What this machine offers: what its location lists, else its processor."""
        return self.here().flavors or processors()

    def regions(self) -> list[str]:
        """The names of all regions."""
        return [location.region for location in self.locations()]

    def public_ips(self, region: str | None) -> dict[str, PublicIp]:
        """Addresses by region; of one region when it is named and known."""
        listed = self._files.read("public-ips", PublicIpsFile).public_ips
        nothing = PublicIp(description=NO_ADDRESSES, ipv4_cidrs=[], ipv6_cidrs=[])
        found = listed or {self.regions()[0]: nothing}
        if region is None:
            return found
        return {region: found.get(region, nothing)}

    def configuration(self) -> Configuration:
        """Regions with their capabilities, and the countries and continents they are in."""
        file, locations = self._file(), self.locations()
        return Configuration(
            regions=[_region(location) for location in locations],
            countries=_named(file.countries, [place.country for place in locations]),
            continents=_named(file.continents, [place.continent for place in locations]),
            private_locations=file.private_locations,
            detected_region=file.detected_region or locations[0].region,
        )

    def _file(self) -> LocationsFile:
        return self._files.read("locations", LocationsFile)


def processors() -> list[Flavor]:
    """The flavors of the processor that this runs on."""
    machine = platform.machine().lower()
    known = [name for name, words in ARCHITECTURES.items() if machine in words]
    return [Flavor(name=name, type="cpu") for name in ("cpu", *known)]


def _region(location: Location) -> Region:
    return Region(
        name=location.region,
        location=location.location,
        continent=location.continent,
        country=location.country,
        drives_available=False,
        egress_available=False,
        proxy_available=True,
        mk31_available=False,
    )


def _named(listed: list[Place], codes: list[str | None]) -> list[Place]:
    """The operator's names, and for codes without one the code itself."""
    known = {place.name for place in listed}
    missing = dict.fromkeys(code for code in codes if code and code not in known)
    return [*listed, *(Place(name=code, display_name=code) for code in missing)]
