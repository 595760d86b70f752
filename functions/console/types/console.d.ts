/** The types that the modules of web/ share. They are not served. */
import type { components } from "./api";

declare global {
  type Schemas = components["schemas"];
  /** `user_id` is there if the API tells an administrator whose run it is. */
  type Run = Schemas["Monitor"] & { user_id?: string };
  type Question = Schemas["QuestionView"] & { expires_at?: string | null };
  /** A run that waits for answers, and the same as a text, which has each digit. */
  type Asking = { run: Run; text: string };
  type Agent = Schemas["AgentView"] & { parameters_schema?: unknown };
  type Delivery = Schemas["DeliveryView"];
  type Attempt = Schemas["AttemptView"];
  type Metadata = Schemas["Metadata"] | null | undefined;
  /** Whoever answered by a link has given a name. */
  type Actor = { user_id: string; key_id: string; name?: string | null } | null | undefined;
  type Batch = Schemas["BatchView"];
  type Subscription = Schemas["SubscriptionView"];
  type Action = "execute" | "view" | "cancel" | "manage";
  /** Where visitors can sign in without a key, as `login.json` has it. */
  type Issuer = { client_id: string; authorize_url: string; token_url: string };
  type Me = { user_id: string; permissions: string[]; is_admin: boolean; expires_at: string | null };

  type Problem = import("../web/api.js").Problem;
  /** What happened to a run. If it has no time of its own, it was before the end. */
  type Maybe<T> = T | "" | 0 | false | null | undefined;
  type Moment = [at: string | null | undefined, text: unknown, note?: unknown, kind?: string];

  /** What a form says, by the names of its fields. */
  type Given = Record<string, string>;
  /** What a request answers: read, and as text, which has each digit. */
  type Answer = { data: any; text: string };
  /** `body` is JSON, unless the headers say otherwise. `key` may be a token, or blank: then none is sent. */
  type RequestOptions = { key?: string; method?: string; body?: string; headers?: Given; signal?: AbortSignal };
  /** Answers after how many seconds it is to be repeated, if it is. */
  type Task = () => Promise<number | void>;

  /** What a view is opened with. */
  interface Page {
    /** Of the one thing that it shows, if it shows one. */
    id: string;
    /** The filters in the address. */
    query: URLSearchParams;
    /** Is aborted when another view is opened. */
    signal: AbortSignal;
    /** Repeats a task while the view is open. The result repeats it at once. */
    poll: (task: Task) => () => void;
    /** Why the task has failed the last time; or that it is under way, while nothing is loaded. */
    state: (isLoaded: unknown) => unknown;
  }
  /** Opens a view, and answers how it is drawn. */
  type Opener = (page: Page) => () => unknown;

  type On<T> = Event & { currentTarget: T; target: T };

  type Kind = "text" | "long" | "number" | "choice" | "yes-no" | "lines" | "checks" | "group" | "json";
  /** What a form asks for, for one value. */
  interface Field {
    kind: Kind;
    /** Of its control in the page. */
    id: string;
    /** As the API names it: `answer.lines.0`. */
    path: string;
    /** Its name within the object that it is a member of. */
    key: string;
    label: string;
    hint: string;
    isRequired: boolean;
    isNullable: boolean;
    /** Of the control: `text`, `email`, and so on. */
    type: string;
    schema: any;
    /** The schema, with each digit; all of it that is around, if that is needed to understand it. */
    text: string;
    /** Its default, and how that is written. */
    start?: { text: string; value: string };
    /** What can be chosen; `text` is JSON. */
    options: { label: string; text: string }[];
    /** As it is written; of a choice the index of its option, of `checks` these with blanks between. */
    value: string;
    /** Of a group. */
    fields: Field[];
    error: string;
  }
  /** Where a field stands. */
  type Place = { path: string; key?: string; label?: string; isRequired: boolean; depth?: number; root?: string; start?: string };
  interface SchemaForm {
    render: () => unknown;
    /** What it says, as JSON; undefined if it says nothing or something wrong. */
    value: () => string | undefined;
    hasErrors: () => boolean;
    /** Shows a problem beside its field, and answers whether it has one. */
    refuse: (problem: Problem) => boolean;
  }

  /**
   * What functions of the modules do and take, where that is much to say: browsers need none of it, so it is not served.
   * A template is `unknown`.
   */
  namespace Is {
    // ui.js
    /** A run, by its agent and the end of its id: the start is alike. */
    type runLink = (run: Run) => unknown;
    /** Until when, with the zone: whoever reads it may be elsewhere. */
    type deadline = (at: string) => unknown;
    /** Draws into an element. What cannot be drawn says so in one of its own: the rest of the page is as it was. */
    type drawn = (view: () => unknown, element?: HTMLDivElement) => HTMLDivElement;
    /** The address of a view. */
    type href = (segments: string[], query?: Given) => string;
    type time = (at: string | null | undefined, isExact?: boolean) => unknown;
    /** What an agent asks. */
    type asks = (who: unknown, question: Question) => unknown;
    /** `user` is whose runs have the tags; blank for the visitor. */
    type tagList = (tags: Run["tags"], user: string) => unknown;
    /** `#` is before columns of numbers. */
    type table = (name: string, columns: string[], rows: unknown, kind?: string) => unknown;
    /** What has no value is left out. */
    type facts = (list: [label: string, value: unknown][]) => unknown;
    type section = (title: string, content: unknown, kind?: string) => unknown;
    /** A text that can be copied. `shown` may be less than all of it. */
    type block = (text: string, name: string, shown?: string) => unknown;
    /** What a problem says to a person. `pause` is after how many seconds it is tried again. */
    type told = (error: unknown, pause?: number) => string;
    /** `text` says what to do. */
    type emptyState = (title: string, text: unknown, command?: string) => unknown;
    /** An empty list of what is a user's, whose the address names. `user` is the one in the address. */
    type emptyList = (user: string, title: string, text: unknown, command?: string) => unknown;
    /** What the key would need. What the key cannot do, and with what it could. */
    type needs = (what: string, permission: string) => unknown;
    /** A button, and what is said once it has done its work; nothing if that answers `false`. */
    type button = (label: string, action: () => any, success?: string | ((done: any) => string), kind?: string, title?: string) => unknown;
    type copyButton = (text: string, label?: string, kind?: string) => unknown;
    /** The head of a view of one thing. */
    type head = (name: string, status: string, id: string, buttons: unknown) => unknown;
    /** A form, and what is done with what it says: once it is submitted, or at each change. */
    type form = (content: unknown, apply: (given: Given) => void, kind?: string, atChange?: boolean) => unknown;
    type input = (label: string, name: string, value: string, hint: string, type?: string) => unknown;
    /** Tells what has happened. What is bad stays until it is dismissed. */
    type notify = (text: string, isBad?: boolean) => void;
    /** What a button does if a dialog is answered with `verb`. */
    type confirmed = (question: string, verb: string, action: () => any) => () => any;

    // api.js
    /** Whether the key grants an action for an agent, or for all of them (`*`). */
    type may = (action: Action, agent: string) => boolean;
    /** What a button does: it posts, and then something else. */
    type posting = (to: string, then: () => void) => () => Promise<any>;
    /** A query, without what is blank. */
    type queryOf = (given: Given) => string;
    type send = (to: string, options: RequestOptions) => Promise<Answer>;
    /** `body` is JSON. */
    type post = (to: string, body?: string, headers?: Given) => Promise<Answer>;
    /** The items of a list until there are `limit`. A page looks at so many of them, and may be empty though more follow: then there is a `next`. What took several pages should be read less often. */
    type list = (parameters: Given, signal: AbortSignal, from?: string) => Promise<{ found: any[]; next?: string; pages: number }>;
    /** Repeats a task while the page is visible, less often while it fails, until `signal` ends it. It never runs twice at once. `report` is told of each success and failure; the result repeats it at once. */
    type poll = (task: Task, signal: AbortSignal, report: (problem?: Problem, pause?: number) => void) => () => void;

    // json.js, format.js
    /** The same with line breaks and indents; what is short stays on one line. */
    type pretty = (text: string) => string;
    /** A time here, as `<input type="datetime-local">` has it, if it can. */
    type toLocal = (at: string | number) => string;
    /** A span of time: `340 ms`, `4.2 s`, `3 h 10 min`. */
    type duration = (ms: number) => string;
    /** How long ago, or in how long, in one unit. */
    type relative = (at: string) => string;
    /** The page of an execution in the AWS console, if its ARN is one. */
    type awsConsole = (arn: string | undefined) => string | undefined;
    /** The texts of what an array or an object holds, each with its index or name; none of anything else. */
    type entries = (text: string | undefined) => [string, string][];
    /** The text of a member, or of the last of that name. */
    type member = (text: string | undefined, name: string) => string | undefined;
    /** The text of a value within, if it is there and not null. */
    type within = (text: string | undefined, ...path: (string | number)[]) => string | undefined;
    /** An object of texts of values, without those that are undefined. */
    type object = (members: Record<string, string | undefined>) => string;
    /** The time of day here, with the date unless it is today's. If it is exact, with milliseconds. */
    type clock = (at: string | number, isExact?: boolean) => string;
    /** The curl command of a POST, which reads the key or token from `$RELAY_API_KEY`. */
    type curl = (path: string, body?: string) => string;

    // schema.js, schema-form.js
    /** The scalars of an `enum`, or each of a `const` with its title; none if there are other values. */
    type optionsOf = (text: string) => Field["options"];
    /** What a `$ref` within `root` stands for, with what is beside it. */
    type resolved = (text: string, root: string) => string;
    /** A schema without null as a second type, or as one `anyOf` two. */
    type withoutNull = (text: string) => string | undefined;
    /** How a value is written into a field. */
    type written = (field: Field, text: string) => string;
    /** The field for a schema. */
    type fieldOf = (schema: string, place: Place) => Field;
    /** Also adds what the field needs. */
    type kindOf = (field: Field, schema: string, root: string, depth: number) => Kind;
    /** The innermost field at a place that the API names. */
    type fieldAt = (field: Field, path: string) => Field | undefined;
    /** What a field says, as JSON; undefined if that is nothing, or wrong: then it has an `error`. */
    type valueOf = (field: Field) => string | undefined;
    type ofField = (field: Field) => boolean;
    /** A form that sends what its parts say, once at a time, and shows a problem where it belongs. Of `parts` the values, as JSON. */
    type submitForm = (parts: SchemaForm[], verb: string, send: (values: (string | undefined)[]) => Promise<void>) => (content: unknown) => unknown;
    /** An object of lines such as `key=value`. */
    type pairs = (lines: string | undefined, separator: string) => string | undefined;

    /** `path` is what the API calls the whole value. Without a label it is not offered as JSON. */
    type schemaForm = (schema: string, path: string, label?: string, isRequired?: boolean) => SchemaForm;

    // chart.js
    /** How many of a list of runs there were and failed, and how long they took; nothing if they are too few. */
    type charts = (runs: Run[]) => unknown;
    /** A bar of parts of a whole, each of its class. */
    type shares = (parts: [string, number][]) => unknown;
    type quantile = (values: number[], share: number) => string;
    /** A dot for each run that has ended, on a logarithmic scale. */
    type dots = (runs: Run[], times: number[], start: number, end: number) => unknown;
    type bar = (at: number, from: number, to: number, kind: string) => unknown;
    type y = (value: number) => number;
    type figure = (caption: unknown, content: unknown) => unknown;
    type line = (y: number, label: unknown) => unknown;

    // login.js
    /** Leaves for the issuer. What is open now is opened again afterwards. */
    type begin = (issuer: Issuer) => Promise<void>;
    /** The token of a visitor who comes back from there. */
    type finish = () => Promise<string | undefined>;

    // The views.
    /** Cards of open questions, by their runs. Each keeps what is typed into it. `answered` is called after each answer. */
    type questionCards = (answered: () => void) => (all: Asking[], hasLink?: boolean) => unknown;
    type pageOf = (id: string, query: URLSearchParams, signal: AbortSignal) => Page;
    type deliveriesList = (run: string, deliveries: Delivery[], refresh: () => void) => unknown;
    type deliveryView = (run: string, delivery: Delivery, refresh: () => void) => unknown;
    type timeline = (run: Run, metadata: Metadata, deliveries: Delivery[]) => unknown;
    type momentOf = (delivery: Delivery, attempt: Attempt) => Moment;
    type momentsOf = (run: Run, metadata: Metadata, queued: number, ran: number) => Moment[];
    /** Draws the agents, whose list is JSON with each digit. */
    type withAgents = (page: Page, view: (list: string) => unknown) => () => unknown;
    type startForm = (name: string, schema: string | undefined, signal: AbortSignal) => () => unknown;
    /** The address with other filters. */
    type changed = (query: URLSearchParams, changes: Given) => string;
    type choice = (label: string, name: string, chosen: string, options: string[]) => unknown;
    type link = (view: string, to: string | null | undefined) => unknown;
    /** A path below /v1, of segments that may hold anything. */
    type path = (...segments: string[]) => string;
  }
}
