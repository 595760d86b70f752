/** The types that the modules of web/ share. They are not served. */
import type { components } from "./api";

declare global {
  type Schemas = components["schemas"];
  /** `user_id` is there if the API tells an administrator whose run it is. */
  type Run = Schemas["Monitor"] & { user_id?: string };
  type Question = Schemas["QuestionView"] & { expires_at?: string | null };
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
  type Moment = { at?: string | null; kind?: string; text: unknown; note?: unknown };

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
    /** What can be chosen; `text` is JSON. */
    options: { label: string; text: string }[];
    /** As it is written; of a choice the index of its option, of `checks` these with blanks between. */
    value: string;
    /** Of a group. */
    fields: Field[];
    error: string;
  }
  /** Where a field stands. */
  type Place = { path: string; key?: string; label?: string; isRequired: boolean; depth?: number };
  type SchemaForm = ReturnType<typeof import("../web/schema-form.js").schemaForm>;
}
