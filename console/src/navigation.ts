// What the navigation shows, in order.
import {
  Activity,
  AppWindow,
  Bot,
  Boxes,
  Brain,
  CalendarClock,
  Container,
  CreditCard,
  Database,
  FileStack,
  Globe,
  HardDrive,
  KeyRound,
  LayoutDashboard,
  type LucideIcon,
  Plug,
  Settings,
  ShieldCheck,
  Users,
  Wrench,
} from "lucide-react";

export interface Place {
  /** The end of the address, below `/console/w/{workspace}`. */
  to: string;
  title: string;
  icon: LucideIcon;
}

export const NAVIGATION: { title: string; places: Place[] }[] = [
  { title: "", places: [{ to: "", title: "Overview", icon: LayoutDashboard }] },
  {
    title: "Build",
    places: [
      { to: "sandboxes", title: "Sandboxes", icon: Boxes },
      { to: "agents", title: "Agents", icon: Bot },
      { to: "functions", title: "MCP servers", icon: Wrench },
      { to: "models", title: "Models", icon: Brain },
      { to: "jobs", title: "Jobs", icon: CalendarClock },
      { to: "applications", title: "Applications", icon: AppWindow },
    ],
  },
  {
    title: "Resources",
    places: [
      { to: "images", title: "Images", icon: Container },
      { to: "volumes", title: "Volumes", icon: HardDrive },
      { to: "drives", title: "Drives", icon: Database },
      { to: "domains", title: "Custom domains", icon: Globe },
      { to: "integrations", title: "Integrations", icon: Plug },
    ],
  },
  {
    title: "Govern",
    places: [
      { to: "policies", title: "Policies", icon: ShieldCheck },
      { to: "requests", title: "Model requests", icon: Activity },
      { to: "billing", title: "Billing", icon: CreditCard },
      { to: "audit", title: "Audit log", icon: FileStack },
    ],
  },
  {
    title: "Access",
    places: [
      { to: "keys", title: "API keys", icon: KeyRound },
      { to: "people", title: "People", icon: Users },
      { to: "settings", title: "Settings", icon: Settings },
    ],
  },
];
